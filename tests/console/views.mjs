// The views: the name in the address, the title.

export const VIEWS = [
  ["overview", "Overview"],
  ["compaction", "Compaction"],
  ["partitions", "Partitions"],
  ["streams", "Streams"],
  ["files", "Manifests and files"],
  ["cluster", "Cluster"],
];
