// The views: the name in the address, the title.

export const VIEWS = [
  ["overview", "Overview"],
  ["compaction", "Compaction"],
  ["partitions", "Partitions"],
  ["streams", "Streams"],
  ["subscriptions", "Subscriptions"],
  ["files", "Manifests and files"],
  ["cluster", "Cluster"],
];
