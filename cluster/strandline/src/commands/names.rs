//! The names that a store gives to the fields of an event, and which it demands, asked of the server.

use crate::calls::Wanted;
use crate::client::Client;
use crate::exit::Failure;
use serde_json::Value;
use strandline_event::{Field, FieldNames};

/// The store's names, from its effective configuration.
pub(crate) fn field_names(client: &Client) -> Result<FieldNames, Failure> {
    let config = client.get(&client.store_path(&[])?)?.json();
    Ok(names_of(&config["config"]))
}

/// What the store wants of generated records, from its effective configuration.
pub(crate) fn wanted_records(client: &Client) -> Result<Wanted, Failure> {
    let answer = client.get(&client.store_path(&[])?)?.json();
    let config = &answer["config"];
    let demands = [
        (Field::CommandId, config["id.command_id.required"] == true),
        (Field::CorrelationId, config["id.correlation_id.optional"] == false),
        (Field::TenantId, config["strict.tenant_required"] == true),
    ];
    let demanded = demands.into_iter().filter_map(|(field, wanted)| wanted.then_some(field)).collect();
    Ok(Wanted { names: names_of(config), demanded })
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
