//! 256 bits that nobody may see: overwritten when dropped, never printed.

use zeroize::Zeroizing;

/// A secret key of 32 bytes.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; Secret::BYTES]>);

impl Secret {
    /// Its length.
    pub const BYTES: usize = 32;

    /// These bytes.
    #[must_use]
    pub fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// From bytes of any length; `None`: it is not 32.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self::new)
    }

    /// The bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_is_printed() {
        assert_eq!(format!("{:?}", Secret::new([0xab; 32])), "Secret");
    }
}
