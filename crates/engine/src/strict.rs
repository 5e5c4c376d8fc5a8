//! Rules of a store that one event can break by itself: strict.*, id.*, partition.enforce.
//!
//! Stateless and pure, so the edge can ask before anything is sent to an owner. The owner asks again, after
//! command id and expected seq: a retry gets its first answer even if the rules became stricter since.

use strandline_deql::{HIVE_NULL, PartitionColumn, PartitionSource, PathPart, StoreConfig, partition_value_bytes};
use strandline_event::{BatchUnit, BatchView, ErrorKind, Field, FieldNames, IdFormat};

/// What an event breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StrictViolation {
    /// A field that this store requires is absent.
    Missing {
        /// The field.
        field: Field,
        /// The key of the statement that requires it.
        rule: &'static str,
    },
    /// partition.enforce: the partition's value would be null.
    NullPartition {
        /// The partition column.
        column: PartitionColumn,
        /// The field that it is made of.
        field: Field,
    },
    /// A partition's value would make a name of a folder or a file that file systems do not take.
    LongPartition {
        /// The field with the longest value of that name.
        field: Field,
        /// Bytes of the values, percent-encoded.
        bytes: usize,
        /// Bytes that there is room for.
        room: usize,
    },
    /// A client's event id of another version.
    IdVersion {
        /// The version that the store takes.
        wanted: u8,
        /// The version nibble that came.
        given: u8,
    },
    /// An event of a stream append names another command than the request.
    OtherCommand {
        /// The request's.
        command_id: String,
        /// The event's.
        other: String,
    },
    /// strict.stream_type_enforced: not registered.
    UnknownStreamType {
        /// What came.
        name: String,
        /// Some that are known, joined by commas.
        known: String,
    },
}

impl StrictViolation {
    /// What it means to the client.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::IdVersion { .. } | Self::OtherCommand { .. } => ErrorKind::InvalidEvent,
            _ => ErrorKind::StrictViolation,
        }
    }

    /// The sentence, with the names that the store gives its fields.
    #[must_use]
    pub fn text(&self, names: &FieldNames) -> String {
        match self {
            Self::Missing { field, rule } => {
                format!("`{}` is required by `{rule}` of this store: give it with every event", names.get(*field))
            }
            Self::NullPartition { column, field } => format!(
                "`{}` is absent or empty, and partition `{column}` is made of it: `partition.enforce` refuses events without it",
                names.get(*field)
            ),
            Self::LongPartition { field, bytes, room } => format!(
                "`{}` stands in the path of data files (`partition.by`, `durable.file_pattern`): percent-encoded it comes to {bytes} bytes, and there is room for {room}",
                names.get(*field)
            ),
            Self::IdVersion { wanted, given } => format!(
                "`{}` must be a UUID of version {wanted} (`id.event_id.format`), this one has version {given}; leave it out and the store makes one",
                names.get(Field::EventId)
            ),
            Self::OtherCommand { command_id, other } => format!(
                "one append is one command: its id is '{command_id}', but an event has `{}` '{other}'; send that event by itself",
                names.get(Field::CommandId)
            ),
            Self::UnknownStreamType { name, known } => format!(
                "stream type '{name}' is not registered and `strict.stream_type_enforced` is on; known: {known}. Register it: `CREATE AGGREGATE {name};` in the file of `--config` and a restart, or POST /v1/stores/{{store}}/stream-types {{\"name\": \"{name}\"}} at once"
            ),
        }
    }
}

impl std::fmt::Display for StrictViolation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(&FieldNames::default()))
    }
}

/// strict.stream_type_enforced: whether a stream type is among the registered ones.
pub fn check_registered(name: &str, known: &[&str]) -> Result<(), StrictViolation> {
    if known.contains(&name) {
        return Ok(());
    }
    let mut some = known.iter().take(20).copied().collect::<Vec<_>>().join(", ");
    if some.is_empty() {
        some.push_str("none");
    } else if known.len() > 20 {
        some.push_str(", ...");
    }
    Err(StrictViolation::UnknownStreamType { name: name.to_owned(), known: some })
}

/// The rules of one store.
#[derive(Clone, Debug)]
pub struct Strict {
    id_format: IdFormat,
    required: Vec<(Field, &'static str)>,
    partitions: Vec<(PartitionColumn, Field)>,
    paths: Vec<Path>,
}

/// A part of the path of data files: the fields whose values stand in it, and the bytes that these may have.
#[derive(Clone, Debug)]
struct Path {
    fields: Vec<Field>,
    room: usize,
}

impl Strict {
    /// From the statement.
    #[must_use]
    pub fn new(config: &StoreConfig) -> Self {
        let rules = [
            (config.id.command_id_required, Field::CommandId, "id.command_id.required"),
            (!config.id.correlation_id_optional, Field::CorrelationId, "id.correlation_id.optional = false"),
            (config.strict.event_version_required, Field::EventVersion, "strict.event_version_required"),
            (config.strict.tenant_required, Field::TenantId, "strict.tenant_required"),
        ];
        let required = rules.into_iter().filter(|r| r.0).map(|(_, field, rule)| (field, rule)).collect();
        let nullable = |column: &PartitionColumn| match config.partition.source(*column) {
            PartitionSource::Text(field) => Some((*column, field)),
            PartitionSource::Time { .. } => None,
        };
        let partitions = if config.partition.enforce {
            config.partition.by.iter().filter_map(nullable).collect()
        } else {
            Vec::new()
        };
        Self { id_format: config.id.event_id_format, required, partitions, paths: paths(config) }
    }

    /// Checks one event.
    pub fn check_row(&self, batch: BatchView<'_>, row: usize) -> Result<(), StrictViolation> {
        for (field, rule) in &self.required {
            if is_absent(batch, row, *field) {
                return Err(StrictViolation::Missing { field: *field, rule });
            }
        }
        for (column, field) in &self.partitions {
            // Hive has no empty value: it reads back as null
            if text(batch, row, *field).is_none_or(str::is_empty) {
                return Err(StrictViolation::NullPartition { column: *column, field: *field });
            }
        }
        self.paths.iter().try_for_each(|path| path.check(batch, row))?;
        match batch.given_event_id(row) {
            Some(id) if !id.is(self.id_format) => {
                Err(StrictViolation::IdVersion { wanted: self.id_format.version(), given: id.version() })
            }
            _ => Ok(()),
        }
    }

    /// Checks a whole batch: the first row that breaks a rule.
    pub fn check_batch(&self, batch: BatchView<'_>) -> Result<(), (u32, StrictViolation)> {
        one_command(batch)?;
        for row in 0..batch.rows() {
            self.check_row(batch, row).map_err(|violation| (row as u32, violation))?;
        }
        Ok(())
    }
}

/// A stream append is one command: an event that names another id is refused.
pub fn one_command(batch: BatchView<'_>) -> Result<(), (u32, StrictViolation)> {
    if batch.unit() != BatchUnit::Append {
        return Ok(());
    }
    let mut named = (0..batch.rows()).filter_map(|row| Some((row, batch.command_id(row)?)));
    let Some((_, first)) = named.next() else { return Ok(()) };
    match named.find(|(_, id)| *id != first) {
        None => Ok(()),
        Some((row, other)) => {
            let violation = StrictViolation::OtherCommand { command_id: first.to_owned(), other: other.to_owned() };
            Err((row as u32, violation))
        }
    }
}

impl Path {
    fn check(&self, batch: BatchView<'_>, row: usize) -> Result<(), StrictViolation> {
        let value = |field: &Field| text(batch, row, *field);
        // no byte becomes more than three
        if self.fields.iter().map(|field| 3 * value(field).map_or(HIVE_NULL.len(), str::len)).sum::<usize>()
            <= self.room
        {
            return Ok(());
        }
        let bytes = |field: &Field| partition_value_bytes(value(field));
        let all = self.fields.iter().map(bytes).sum();
        match self.fields.iter().max_by_key(|field| bytes(field)) {
            Some(field) if all > self.room => {
                Err(StrictViolation::LongPartition { field: *field, bytes: all, room: self.room })
            }
            _ => Ok(()),
        }
    }
}

/// The parts of paths in which texts of events stand; moments have a length of their own.
fn paths(config: &StoreConfig) -> Vec<Path> {
    const MOMENT_BYTES: usize = "2026-11-23-10".len();
    let part = |part: PathPart| {
        let mut path = Path { fields: Vec::new(), room: part.room };
        for column in part.columns {
            match config.partition.source(column) {
                PartitionSource::Text(field) => path.fields.push(field),
                PartitionSource::Time { .. } => {
                    path.room = path.room.saturating_sub(MOMENT_BYTES.max(HIVE_NULL.len()));
                }
            }
        }
        path
    };
    config.durable.file_pattern.parts().into_iter().map(part).filter(|path| !path.fields.is_empty()).collect()
}

/// A text of an event, as it may name a partition.
fn text(batch: BatchView<'_>, row: usize, field: Field) -> Option<&str> {
    match field {
        Field::StreamType => Some(batch.stream_type()),
        Field::StreamId => Some(batch.stream(batch.stream_of(row))),
        Field::EventType => Some(batch.event_type(row)),
        Field::Payload => Some(batch.data(row)),
        Field::Metadata => batch.metadata(row),
        Field::CommandId => batch.command_id(row),
        Field::CorrelationId => batch.correlation_id(row),
        Field::CausationId => batch.causation_id(row),
        Field::TenantId => batch.tenant_id(row),
        Field::EventId | Field::Seq | Field::EventVersion | Field::OccurredAt | Field::IngestedAt => None,
    }
}

fn is_absent(batch: BatchView<'_>, row: usize, field: Field) -> bool {
    match field {
        Field::EventVersion => batch.event_version(row).is_none(),
        Field::Metadata => batch.metadata(row).is_none(),
        Field::CommandId => batch.command_id(row).is_none(),
        Field::CorrelationId => batch.correlation_id(row).is_none(),
        Field::CausationId => batch.causation_id(row).is_none(),
        Field::TenantId => batch.tenant_id(row).is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_event::{BatchBuilder, EventInput, IdPrefix, Micros};

    fn strict(settings: &str) -> Strict {
        let text =
            format!("CREATE EVENTSTORE t WITH (durable.type = 'parquet', durable.path = 'memory://t', {settings});");
        Strict::new(&strandline_deql::parse_file("t.deql", &text).unwrap().stores[0].config)
    }

    fn broken(settings: &str, event: EventInput<'_>) -> Option<StrictViolation> {
        let mut builder = BatchBuilder::new("T", BatchUnit::Append);
        builder.push(&EventInput { stream_id: "s", event_type: "E", ..event }).unwrap();
        strict(settings).check_batch(builder.finish().unwrap().view()).err().map(|(_, violation)| violation)
    }

    #[test]
    fn each_key_refuses_what_it_names() {
        let bare = EventInput::default();
        for (settings, named) in [
            ("id.command_id.required = true", "`command_id` is required by `id.command_id.required`"),
            ("id.correlation_id.optional = false", "`correlation_id` is required"),
            ("strict.event_version_required = true", "`event_version` is required"),
            ("strict.tenant_required = true", "`tenant_id` is required"),
            ("partition.by = ('tenant_id'), partition.enforce = true", "`tenant_id` is absent"),
        ] {
            let violation = broken(settings, bare).unwrap();
            assert_eq!(violation.kind(), ErrorKind::StrictViolation);
            assert!(violation.to_string().starts_with(named), "{violation}");
        }
        assert_eq!(broken("partition.by = ('tenant_id')", bare), None);
        let tenant = EventInput { tenant_id: Some("UA"), ..bare };
        assert_eq!(broken("strict.tenant_required = true", tenant), None);
    }

    #[test]
    fn ids_of_another_version_and_other_commands_are_refused() {
        let event_id = Some(IdPrefix::v7(Micros(5), 1).id(0));
        let event = EventInput { event_id, ..EventInput::default() };
        assert_eq!(broken("id.event_id.format = 'uuidv7'", event), None);
        let violation = broken("id.event_id.format = 'uuidv4'", event).unwrap();
        assert_eq!(violation, StrictViolation::IdVersion { wanted: 4, given: 7 });
        assert_eq!(violation.kind(), ErrorKind::InvalidEvent);
        let mut builder = BatchBuilder::new("T", BatchUnit::Append);
        for command_id in [None, Some("c"), Some("d")] {
            let event = EventInput { stream_id: "s", event_type: "E", command_id, ..EventInput::default() };
            builder.push(&event).unwrap();
        }
        let (row, violation) = one_command(builder.finish().unwrap().view()).unwrap_err();
        assert_eq!((row, violation.kind()), (2, ErrorKind::InvalidEvent));
    }

    #[test]
    fn unknown_stream_types_are_told_the_known_ones() {
        assert_eq!(check_registered("Call", &["Call"]), Ok(()));
        let text = check_registered("Cal", &["Call", "Flight"]).unwrap_err().to_string();
        assert!(text.contains("known: Call, Flight. Register it: `CREATE AGGREGATE Cal;`"), "{text}");
        assert!(check_registered("Cal", &[]).unwrap_err().to_string().contains("known: none"));
    }

    /// The correlation id names the folder.
    const BY_CORRELATION: &str = "partition.by = ('tenant_id'), partition.tenant_id.expr = 'correlation_id', \
         durable.file_pattern = 'of={tenant_id}/{writer}-{file_seq}.parquet'";

    #[test]
    fn an_empty_text_is_no_partition_under_enforce() {
        let empty = EventInput { correlation_id: Some(""), ..EventInput::default() };
        let violation = broken(&format!("{BY_CORRELATION}, partition.enforce = true"), empty).unwrap();
        assert!(matches!(violation, StrictViolation::NullPartition { field: Field::CorrelationId, .. }), "{violation}");
        assert_eq!(broken(BY_CORRELATION, empty), None);
    }

    #[test]
    fn what_no_folder_can_be_named_by_is_refused() {
        let by_correlation = BY_CORRELATION;
        let room = 240 - "of=".len();
        let (fits, long) = ("x".repeat(room), "x".repeat(room + 1));
        let event = |text| EventInput { correlation_id: Some(text), ..EventInput::default() };
        assert_eq!(broken(by_correlation, event(&fits)), None);
        let violation = broken(by_correlation, event(&long)).unwrap();
        assert_eq!(violation, StrictViolation::LongPartition { field: Field::CorrelationId, bytes: room + 1, room });
        assert_eq!(violation.kind(), ErrorKind::StrictViolation);
        // each of these is three bytes in a path
        let (fits, too_many) = ("/".repeat(room / 3), "/".repeat(room / 3 + 1));
        assert!(broken(by_correlation, event(&fits)).is_none());
        assert!(broken(by_correlation, event(&too_many)).is_some());
        assert_eq!(broken("partition.by = ('dt')", event(&long)), None);
    }
}
