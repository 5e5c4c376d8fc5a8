//! Exit codes: 0 done, 1 the answer is no, 2 usage or configuration, 3 the server cannot be reached or failed.

use std::process::ExitCode;

/// Why a command did not do what it was asked for; the text says what to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The answer is no: a conflict, findings, something that does not exist.
    No(String),
    /// Usage or configuration.
    Usage(String),
    /// The server cannot be reached, or failed.
    Server(String),
    /// The reader of our output went away (`| head`): nothing is wrong.
    PipeClosed,
}

impl Failure {
    /// From a local file or folder that cannot be used.
    pub(crate) fn file(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Usage(format!("cannot {what} {}: {error}", path.display()))
    }

    /// What is said of it.
    pub(crate) fn text(&self) -> Option<&str> {
        self.parts().1
    }

    fn parts(&self) -> (u8, Option<&str>) {
        match self {
            Self::No(text) => (1, Some(text)),
            Self::Usage(text) => (2, Some(text)),
            Self::Server(text) => (3, Some(text)),
            Self::PipeClosed => (0, None),
        }
    }
}

/// Says what failed on stderr and gives the exit code.
pub(crate) fn code(result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let (code, text) = failure.parts();
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        crate::out::note(&format!("strandline: {text}"));
    }
    ExitCode::from(code)
}
