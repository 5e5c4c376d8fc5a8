//! Bodies of requests and answers. `PROTOCOL.md`, section 4.

use crate::fields::{FieldError, Put, Take};
use crate::net::kinds::{Kind, NetError};
use crate::net::outgoing::{Frame, frame};
use crate::transport::{Call, GroupId, Rpc, ServeError};
use std::sync::Arc;
use strandline_client::wire::header::ALIGN;
use strandline_event::{LogKey, SharedBytes};

/// A request about the cluster itself: joining, and what the nodes tell each other beside the logs.
#[derive(Clone, Debug)]
pub struct Ask {
    /// What is asked; the numbers are given by who answers.
    pub kind: u8,
    /// Its body.
    pub body: SharedBytes,
}

/// Why something was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefusedCode {
    /// The other node has no part in the group.
    NoGroup,
    /// The request cannot be read there.
    Unreadable,
    /// The group does not run there.
    Stopped,
    /// Who asks is not let in: another cluster, another node is meant, or it was removed.
    NotAdmitted,
    /// The bytes do not follow the protocol.
    Protocol,
    /// The request was understood, and the answer is no.
    No,
}

impl RefusedCode {
    const ALL: [Self; 6] =
        [Self::NoGroup, Self::Unreadable, Self::Stopped, Self::NotAdmitted, Self::Protocol, Self::No];

    const fn to_u8(self) -> u8 {
        match self {
            Self::NoGroup => 1,
            Self::Unreadable => 2,
            Self::Stopped => 3,
            Self::NotAdmitted => 4,
            Self::Protocol => 5,
            Self::No => 6,
        }
    }
}

/// What a Refused frame says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Why.
    pub code: RefusedCode,
    /// The sentence.
    pub text: String,
}

impl Refused {
    pub(crate) fn new(code: RefusedCode, text: impl ToString) -> Self {
        Self { code, text: text.to_string() }
    }

    /// As a frame.
    #[must_use]
    pub fn encode(&self, request: u64) -> Frame {
        let mut out = Put::default();
        out.u8(self.code.to_u8());
        out.zeros(3);
        out.text(&self.text);
        frame(Kind::Refused, request, &out.0, None)
    }

    /// Reads the body of one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(body: &SharedBytes) -> Result<Self, NetError> {
        let mut take = Take(body);
        let number = take.u8()?;
        let code = RefusedCode::ALL.into_iter().find(|code| code.to_u8() == number);
        // a later version's reason is still a refusal
        let code = code.unwrap_or(RefusedCode::No);
        take.zeros(3)?;
        let text = take.text()?.to_owned();
        take.end()?;
        Ok(Self { code, text })
    }
}

impl From<ServeError> for Refused {
    fn from(error: ServeError) -> Self {
        let code = match &error {
            ServeError::NoGroup(_) => RefusedCode::NoGroup,
            ServeError::Unreadable(_) => RefusedCode::Unreadable,
            ServeError::Impersonates { .. } => RefusedCode::NotAdmitted,
            ServeError::Stopped { .. } => RefusedCode::Stopped,
        };
        Self::new(code, error)
    }
}

/// A Call as a frame: its names, zeros to a multiple of 16, its body without a copy.
#[must_use]
pub fn encode_call(request: u64, call: &Call) -> Frame {
    let (store, stream_type, bucket) = match &call.group {
        GroupId::Meta => ("", "", 0),
        GroupId::Log { store, log } => (&**store, &*log.stream_type, log.bucket),
    };
    let mut out = Put::default();
    out.u8(call.rpc as u8);
    out.zeros(3);
    out.u32(bucket);
    out.text(store);
    out.text(stream_type);
    out.zeros(out.0.len().next_multiple_of(ALIGN) - out.0.len());
    frame(Kind::Call, request, &out.0, Some(call.body.clone()))
}

/// Reads a Call in place: its body begins at a multiple of 16 of the frame's.
///
/// # Errors
/// It is none.
pub fn decode_call(body: &SharedBytes) -> Result<Call, NetError> {
    let mut take = Take(body);
    let rpc = Rpc::from_byte(take.u8()?).ok_or(FieldError::Value("a request of a group that is not known here"))?;
    take.zeros(3)?;
    let (bucket, store, stream_type) = (take.u32()?, take.text()?, take.text()?);
    let group = match (store.is_empty(), stream_type.is_empty(), bucket) {
        (true, true, 0) => GroupId::Meta,
        (false, false, _) => {
            GroupId::Log { store: Arc::from(store), log: LogKey { stream_type: Arc::from(stream_type), bucket } }
        }
        _ => return Err(FieldError::Value("a group without a store or a stream type").into()),
    };
    let at = body.len() - take.0.len();
    take.zeros(at.next_multiple_of(ALIGN) - at)?;
    let at = at.next_multiple_of(ALIGN);
    let body = body.slice(at..body.len()).ok_or(FieldError::Short)?;
    Ok(Call { group, rpc, body })
}

/// An Ask as a frame.
#[must_use]
pub fn encode_ask(request: u64, ask: &Ask) -> Frame {
    let mut out = Put::default();
    out.u8(ask.kind);
    out.zeros(ALIGN - 1);
    frame(Kind::Ask, request, &out.0, Some(ask.body.clone()))
}

/// Reads an Ask.
///
/// # Errors
/// It is none.
pub fn decode_ask(body: &SharedBytes) -> Result<Ask, NetError> {
    let mut take = Take(body);
    let kind = take.u8()?;
    take.zeros(ALIGN - 1)?;
    Ok(Ask { kind, body: body.slice(ALIGN..body.len()).ok_or(FieldError::Short)? })
}

/// An Answer as a frame: nothing but its bytes.
#[must_use]
pub fn encode_answer(request: u64, bytes: Vec<u8>) -> Frame {
    frame(Kind::Answer, request, &bytes, None)
}
