//! Provider `aws_kms` against moto's KMS: keys are wrapped by alias, bound to their place, and an outage is told as one.

use crate::{moto, settings};
use std::sync::Arc;
use strandline_durable::objects::aws_kms;
use strandline_event::ErrorKind;
use strandline_keys::testing::Counting;
use strandline_keys::{KeyError, KeyProvider, Keyring, StoreKeys, Wrapped};

fn provider(url: &str, key_id: &str) -> Arc<dyn KeyProvider> {
    aws_kms(key_id, &settings(url), Arc::new(Counting::new(5))).unwrap()
}

#[test]
fn keys_are_wrapped_by_an_alias_and_opened_in_their_place_only() {
    let id = moto().make_key("alias/strandline");
    let keys = provider(&moto().url(), "alias/strandline");
    let secret = keys.generate();
    let wrapped = keys.wrap(&secret, "1 of keyring a").unwrap();
    assert!(wrapped.provider == "aws_kms" && wrapped.version.contains(&id), "{wrapped:?}");
    assert_eq!(keys.unwrap(&wrapped, "1 of keyring a").unwrap().expose(), secret.expose());
    assert!(matches!(keys.unwrap(&wrapped, "2 of keyring a"), Err(KeyError::WrongKey { .. })));
    let local = Wrapped { provider: "local".to_owned(), ..wrapped.clone() };
    assert!(matches!(keys.unwrap(&local, "1 of keyring a"), Err(KeyError::OtherProvider { .. })));
    assert!(keys.describe().unwrap().version.contains(&id));
    // the alias points at another key: what was wrapped stays open, what is wrapped from here on is another's
    let other = moto().make_key("alias/other");
    moto().kms("UpdateAlias", &format!("{{\"AliasName\": \"alias/strandline\", \"TargetKeyId\": \"{other}\"}}"));
    assert_eq!(keys.unwrap(&wrapped, "1 of keyring a").unwrap().expose(), secret.expose());
    assert!(keys.wrap(&secret, "1 of keyring a").unwrap().version.contains(&other));
}

#[test]
fn a_keyring_rotates_under_kms() {
    moto().make_key("alias/ring");
    let keys = provider(&moto().url(), "alias/ring");
    let ring = Keyring::new(&*keys).unwrap();
    let rotated = ring.rotated(&*keys, |_| {}).unwrap();
    assert_eq!(StoreKeys::open(&rotated, &*keys).unwrap().current(), 2);
}

#[test]
fn an_outage_and_a_refusal_are_two_things() {
    let keys = provider("http://127.0.0.1:9", "alias/none");
    let away = keys.describe().unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    assert!(matches!(away, KeyError::Unreachable { .. }), "{away}");
    let missing = provider(&moto().url(), "alias/nobody").describe().unwrap_err();
    assert!(matches!(missing, KeyError::Refused { .. }), "{missing}");
    assert!(away.to_string().contains("AWS_ENDPOINT_URL_KMS"), "{away}");
    assert!(missing.to_string().contains("security.kms.key_id"), "{missing}");
    for error in [away, missing] {
        assert!(!error.to_string().contains("the-secret-that-nobody-may-print"), "{error}");
    }
}
