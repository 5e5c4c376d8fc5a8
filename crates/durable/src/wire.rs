//! How our numbers stand in JSON: integers as numbers, 128-bit values and ids as 32 hex digits.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strandline_event::{EventId, LogIndex, Micros, Seq};

/// A value with a JSON form of its own.
pub(crate) trait Wire: Sized {
    type Form: Serialize + for<'a> Deserialize<'a>;
    fn form(&self) -> Self::Form;
    fn from_form(form: Self::Form) -> Option<Self>;
}

macro_rules! number {
    ($type:ty, $inner:ty, $make:expr) => {
        impl Wire for $type {
            type Form = $inner;
            fn form(&self) -> $inner {
                self.0
            }
            fn from_form(form: $inner) -> Option<Self> {
                Some($make(form))
            }
        }
    };
}

number!(Micros, i64, Micros);
number!(Seq, u64, Seq);
number!(LogIndex, u64, LogIndex);

impl Wire for u128 {
    type Form = String;
    fn form(&self) -> String {
        format!("{self:032x}")
    }
    fn from_form(form: String) -> Option<Self> {
        let plain = form.len() == 32 && form.bytes().all(|b| b.is_ascii_hexdigit());
        plain.then(|| Self::from_str_radix(&form, 16).ok()).flatten()
    }
}

impl Wire for EventId {
    type Form = String;
    fn form(&self) -> String {
        u128::from_be_bytes(self.0).form()
    }
    fn from_form(form: String) -> Option<Self> {
        u128::from_form(form).map(|n| Self(n.to_be_bytes()))
    }
}

impl Wire for [u8; 16] {
    type Form = String;
    fn form(&self) -> String {
        u128::from_be_bytes(*self).form()
    }
    fn from_form(form: String) -> Option<Self> {
        u128::from_form(form).map(u128::to_be_bytes)
    }
}

impl<T: Wire> Wire for (T, T) {
    type Form = (T::Form, T::Form);
    fn form(&self) -> Self::Form {
        (self.0.form(), self.1.form())
    }
    fn from_form(form: Self::Form) -> Option<Self> {
        Some((T::from_form(form.0)?, T::from_form(form.1)?))
    }
}

pub(crate) fn serialize<T: Wire, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    value.form().serialize(to)
}

pub(crate) fn deserialize<'a, T: Wire, D: Deserializer<'a>>(from: D) -> Result<T, D::Error> {
    let form = T::Form::deserialize(from)?;
    T::from_form(form).ok_or_else(|| serde::de::Error::custom("not a value of this field"))
}
