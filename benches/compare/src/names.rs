//! Names of the engines in tables and on the command line.

pub(crate) const REDIS: &str = "Redis";
pub(crate) const POSTGRES: &str = "PostgreSQL";
pub(crate) const NATS: &str = "JetStream";
pub(crate) const UMADB: &str = "UmaDB";
pub(crate) const UMADB_CHECKED: &str = "UmaDB, stream check";
pub(crate) const NATIVE: &str = "Strandline native";
pub(crate) const HTTP: &str = "Strandline HTTP";
pub(crate) const NATIVE_IDS: &str = "Strandline native, command ids";

/// Of all engines.
pub(crate) const ALL: [&str; 8] = [REDIS, POSTGRES, NATS, UMADB, UMADB_CHECKED, NATIVE, NATIVE_IDS, HTTP];

/// The engines that a word means, whatever the case: the one of that name, with "Strandline" before it or not; where there is none, those
/// whose names begin so.
pub(crate) fn meant(word: &str) -> Vec<&'static str> {
    let word = word.to_lowercase();
    let those = |fits: &dyn Fn(&str) -> bool| -> Vec<&'static str> {
        let named = |name: &&str| {
            let name = name.to_lowercase();
            fits(name.as_str()) || name.strip_prefix("strandline ").is_some_and(fits)
        };
        ALL.into_iter().filter(named).collect()
    };
    let exactly = those(&|name| name == word);
    if exactly.is_empty() && !word.is_empty() { those(&|name| name.starts_with(&word)) } else { exactly }
}

/// A word that means an engine.
pub(crate) fn known(word: &str) -> Result<String, String> {
    if meant(word).is_empty() {
        return Err(format!("there is no such engine; there are: {}", ALL.map(|name| format!("'{name}'")).join(", ")));
    }
    Ok(word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_one_engine_whatever_others_begin_so() {
        for name in ALL {
            assert_eq!(meant(name), [name]);
        }
        assert_eq!((meant("native"), meant("umadb")), (vec![NATIVE], vec![UMADB]));
        assert_eq!(meant("NATIVE, command ids"), [NATIVE_IDS]);
    }

    #[test]
    fn what_is_no_name_means_those_that_begin_so() {
        assert_eq!(meant("strandline"), [NATIVE, NATIVE_IDS, HTTP]);
        assert_eq!((meant("postgres"), meant("native,")), (vec![POSTGRES], vec![NATIVE_IDS]));
        for nothing in ["", "sql", "command ids"] {
            assert!(known(nothing).unwrap_err().contains("'Redis', 'PostgreSQL'"), "{nothing}");
        }
        assert_eq!(known("redis").unwrap(), "redis");
    }
}
