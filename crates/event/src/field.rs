//! The fourteen fields of the envelope, and the names that a store gives them.

/// A field of the event envelope, in the order of the reference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Field {
    /// UUID of the event.
    EventId,
    /// Type of the aggregate.
    StreamType,
    /// Instance of the aggregate.
    StreamId,
    /// Place in the stream.
    Seq,
    /// Kind of the event.
    EventType,
    /// Schema version of the event.
    EventVersion,
    /// When it happened.
    OccurredAt,
    /// When the store took it.
    IngestedAt,
    /// The payload, JSON text. (`envelope.payload_key`; the default name is `data`.)
    Payload,
    /// Metadata, JSON text or null.
    Metadata,
    /// Idempotency id.
    CommandId,
    /// Correlation id.
    CorrelationId,
    /// Causation id.
    CausationId,
    /// Tenant.
    TenantId,
}

impl Field {
    /// All fields, in order.
    pub const ALL: [Self; 14] = [
        Self::EventId,
        Self::StreamType,
        Self::StreamId,
        Self::Seq,
        Self::EventType,
        Self::EventVersion,
        Self::OccurredAt,
        Self::IngestedAt,
        Self::Payload,
        Self::Metadata,
        Self::CommandId,
        Self::CorrelationId,
        Self::CausationId,
        Self::TenantId,
    ];

    /// The default name: what users see where the store renames nothing.
    #[must_use]
    pub const fn default_name(self) -> &'static str {
        match self {
            Self::EventId => "event_id",
            Self::StreamType => "stream_type",
            Self::StreamId => "stream_id",
            Self::Seq => "seq",
            Self::EventType => "event_type",
            Self::EventVersion => "event_version",
            Self::OccurredAt => "occurred_at",
            Self::IngestedAt => "ingested_at",
            Self::Payload => "data",
            Self::Metadata => "metadata",
            Self::CommandId => "command_id",
            Self::CorrelationId => "correlation_id",
            Self::CausationId => "causation_id",
            Self::TenantId => "tenant_id",
        }
    }
}

/// The configured name of each field: the name everywhere a user looks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FieldNames {
    names: [String; 14],
}

impl Default for FieldNames {
    fn default() -> Self {
        Self { names: Field::ALL.map(|f| f.default_name().to_owned()) }
    }
}

impl FieldNames {
    /// The name of a field.
    #[must_use]
    pub fn get(&self, field: Field) -> &str {
        &self.names[field as usize]
    }

    /// Gives a field another name. The caller has checked that it is free.
    pub fn set(&mut self, field: Field, name: impl Into<String>) {
        self.names[field as usize] = name.into();
    }

    /// The field that has this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<Field> {
        Field::ALL.into_iter().find(|f| self.get(*f) == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_discriminant() {
        for (i, f) in Field::ALL.into_iter().enumerate() {
            assert_eq!(f as usize, i);
        }
    }

    #[test]
    fn a_renamed_field_is_found_by_its_new_name_only() {
        let mut names = FieldNames::default();
        names.set(Field::Seq, "version");
        assert_eq!(names.field("version"), Some(Field::Seq));
        assert_eq!(names.field("seq"), None);
    }
}
