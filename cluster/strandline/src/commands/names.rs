//! The names that a store gives to the fields of an event, and which it demands, asked of the server.

use crate::calls::Wanted;
use crate::client::{Client, NOT_A_NODE};
use crate::exit::Failure;
use serde_json::Value;
use strandline_event::{Field, FieldNames};

/// The store's names, from its effective configuration.
pub(crate) fn field_names(client: &Client) -> Result<FieldNames, Failure> {
    Ok(names_of(&config(client)?))
}

/// What the store wants of generated records, from its effective configuration.
pub(crate) fn wanted_records(client: &Client) -> Result<Wanted, Failure> {
    let config = config(client)?;
    let demands = [
        (Field::CommandId, config["id.command_id.required"] == true),
        (Field::CorrelationId, config["id.correlation_id.optional"] == false),
        (Field::TenantId, config["strict.tenant_required"] == true),
    ];
    let demanded = demands.into_iter().filter_map(|(field, wanted)| wanted.then_some(field)).collect();
    Ok(Wanted { names: names_of(&config), demanded })
}

/// The store's effective configuration. What answers otherwise is no node: nothing is to be sent there.
fn config(client: &Client) -> Result<Value, Failure> {
    let mut answer = client.get(&client.store_path(&[])?)?.json();
    match answer.get_mut("config").map(Value::take) {
        Some(config @ Value::Object(_)) => Ok(config),
        _ => Err(Failure::Server(format!("{} answers, and {NOT_A_NODE}", client.url()))),
    }
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
