//! The first frame of each side: who speaks, and who is meant. `PROTOCOL.md`, section 3. The layout of version 1 stays for ever.

use crate::fields::{Put, Take};
use crate::net::kinds::{Kind, NetError};
use crate::net::outgoing::{Frame, frame};
use crate::transport::NodeId;
use strandline_client::wire::header::VERSION;
use strandline_event::SharedBytes;

/// What who connects says first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Smallest and largest version of frames that it speaks.
    pub versions: (u8, u8),
    /// Bytes of the largest body that it takes.
    pub body_max: u32,
    /// Its cluster; 0: it has none yet.
    pub cluster: u128,
    /// Its data folder's random bits; 0: it has none.
    pub instance: u128,
    /// Its id; 0: it is no node.
    pub node: NodeId,
    /// The node that it means; 0: whoever listens here.
    pub to: NodeId,
    /// Name and version of its program, for people.
    pub program: String,
}

/// What who listens says to it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The version of all further frames.
    pub version: u8,
    /// Bytes of the largest body that it takes.
    pub body_max: u32,
    /// Its cluster; 0: it has none yet.
    pub cluster: u128,
    /// Its id.
    pub node: NodeId,
    /// Name and version of its program, for people.
    pub program: String,
}

impl Hello {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut out = Put::default();
        out.u8(self.versions.0);
        out.u8(self.versions.1);
        out.zeros(2);
        out.u32(self.body_max);
        out.u128(self.cluster);
        out.u128(self.instance);
        out.u64(self.node);
        out.u64(self.to);
        out.text(&self.program);
        frame(Kind::Hello, 0, &out.0, None)
    }

    /// Reads the body of one.
    ///
    /// # Errors
    /// It is none.
    pub fn decode(body: &SharedBytes) -> Result<Self, NetError> {
        let mut take = Take(body);
        let versions = (take.u8()?, take.u8()?);
        take.zeros(2)?;
        let hello = Self {
            versions,
            body_max: take.u32()?,
            cluster: take.u128()?,
            instance: take.u128()?,
            node: take.u64()?,
            to: take.u64()?,
            program: take.text()?.to_owned(),
        };
        take.end()?;
        Ok(hello)
    }

    /// The version that both speak.
    #[must_use]
    pub const fn version(&self) -> Option<u8> {
        if self.versions.0 <= VERSION && VERSION <= self.versions.1 { Some(VERSION) } else { None }
    }
}

impl Welcome {
    /// As a frame.
    #[must_use]
    pub fn encode(&self) -> Frame {
        let mut out = Put::default();
        out.u8(self.version);
        out.zeros(3);
        out.u32(self.body_max);
        out.u128(self.cluster);
        out.u64(self.node);
        out.text(&self.program);
        frame(Kind::Welcome, 0, &out.0, None)
    }

    /// Reads the body of one.
    ///
    /// # Errors
    /// It is none, or of a version that is not spoken here.
    pub fn decode(body: &SharedBytes) -> Result<Self, NetError> {
        let mut take = Take(body);
        let version = take.u8()?;
        if version != VERSION {
            return Err(NetError::Version(version));
        }
        take.zeros(3)?;
        let body_max = take.u32()?;
        let welcome =
            Self { version, body_max, cluster: take.u128()?, node: take.u64()?, program: take.text()?.to_owned() };
        take.end()?;
        Ok(welcome)
    }
}

/// A cluster's id as people read it.
#[must_use]
pub fn cluster_text(cluster: u128) -> String {
    if cluster == 0 { "no cluster".to_owned() } else { format!("cluster {cluster:032x}") }
}
