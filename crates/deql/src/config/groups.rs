//! The macro that makes a group of keys: one line a key gives the field, its default and its entry in the table.

/// `$field: $type = $default; "$key", free|fixed|node [, $min ..= $max "$unit"] [, default "$rule"];`
///
/// `free`: CREATE OR REPLACE may change it. `fixed`: it may not. `node`: it belongs to the node, never compared.
/// `default "..."`: the default is computed from other keys (`derive.rs`); the text says how.
macro_rules! groups {
    ($(
        $(#[doc = $group_doc:literal])+
        $group:ident : $name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident : $type:ty = $default:expr;
                $key:literal, $replace:ident $(, $min:literal ..= $max:literal $unit:literal)? $(, default $rule:literal)?;
            )+
        }
    )+) => {
        $(
            $(#[doc = $group_doc])+
            #[derive(Clone, PartialEq, Debug)]
            pub struct $name {
                $($(#[doc = $doc])+ pub $field: $type,)+
            }
        )+

        /// The groups at their defaults.
        pub(crate) struct Defaults { $(pub(crate) $group: $name,)+ }

        impl Defaults {
            pub(crate) fn new() -> Self {
                Self { $($group: $name { $($field: $default,)+ },)+ }
            }
        }

        /// The keys of all groups but `envelope`, in the order of the reference.
        pub(crate) static GROUP_KEYS: &[Key] = &[$($(Key {
            name: $key,
            doc: concat!($($doc),+),
            range: groups!(@range $($min, $max, $unit)?),
            kind: <$type as Setting>::KIND,
            default_rule: groups!(@rule $($rule)?),
            replace: groups!(@replace $replace),
            read: |config, literal, key| {
                config.$group.$field = <$type as Setting>::read(literal, key, &config.envelope)?;
                Ok(())
            },
            write: |config| config.$group.$field.write(&config.envelope),
        },)+)+];
    };
    (@range) => { None };
    (@range $min:literal, $max:literal, $unit:literal) => { Some(Range { min: $min, max: $max, unit: $unit }) };
    (@rule) => { None };
    (@rule $rule:literal) => { Some($rule) };
    (@replace free) => { Replace::Free };
    (@replace fixed) => { Replace::Fixed };
    (@replace node) => { Replace::Node };
}
