//! The names that a store gives to the fields of an event, asked of the server.

use crate::client::Client;
use crate::exit::Failure;
use serde_json::Value;
use strandline_event::{Field, FieldNames};

/// The store's names, from its effective configuration.
pub(crate) fn field_names(client: &Client) -> Result<FieldNames, Failure> {
    let config = client.get(&client.store_path(&[])?)?.json();
    Ok(names_of(&config["config"]))
}

fn names_of(config: &Value) -> FieldNames {
    let mut names = FieldNames::default();
    for field in Field::ALL {
        let key = match field {
            Field::Payload => "envelope.payload_key".to_owned(),
            other => format!("envelope.{}_key", other.default_name()),
        };
        if let Some(name) = config[&key].as_str() {
            names.set(field, name);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renamed_fields_have_their_new_names_and_the_others_the_default() {
        let names = names_of(&serde_json::json!({"envelope.seq_key": "version", "envelope.payload_key": "body"}));
        assert_eq!(
            (names.get(Field::Seq), names.get(Field::Payload), names.get(Field::StreamId)),
            ("version", "body", "stream_id")
        );
    }
}
