//! Fixed fields of the cluster's formats: little-endian numbers, texts with their length before them.
//!
//! Of the meta group's commands and snapshot (`META.md`) and of the frames between nodes (`PROTOCOL.md`). A writer cannot fail; a
//! reader never reads beyond its bytes, never allocates for a length that it has not seen the bytes of, and takes one
//! form only of everything, so that equal values have equal bytes.

use strandline_event::Micros;

/// Why bytes do not hold what they should.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FieldError {
    /// They end too early.
    #[error("the bytes end too early")]
    Short,
    /// They go on too long.
    #[error("the bytes go on behind their end")]
    Trailing,
    /// Something stands where zeros must be.
    #[error("bytes that must be zero are not")]
    NotZero,
    /// A text is no UTF-8.
    #[error("a text is not UTF-8")]
    Utf8,
    /// A number is out of its range, or what must be sorted is not.
    #[error("{0}")]
    Value(&'static str),
}

/// Writes fields.
#[derive(Debug, Default)]
pub(crate) struct Put(pub(crate) Vec<u8>);

impl Put {
    /// What is said between nodes of a cluster begins with its version, in eight bytes.
    pub(crate) fn of(version: u8) -> Self {
        let mut out = Self::default();
        out.u8(version);
        out.zeros(7);
        out
    }

    /// A moment that may not be there.
    pub(crate) fn moment(&mut self, moment: Option<Micros>) {
        self.u64(u64::from(moment.is_some()));
        self.u64(moment.map_or(0, |moment| moment.0.cast_unsigned()));
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn zeros(&mut self, count: usize) {
        self.0.resize(self.0.len() + count, 0);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn u128(&mut self, value: u128) {
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// A text: its length and its bytes.
    pub(crate) fn text(&mut self, text: &str) {
        self.count(text.len());
        self.bytes(text.as_bytes());
    }

    /// How many of something follow.
    pub(crate) fn count(&mut self, count: usize) {
        // nothing here has 4 Gi parts: texts and lists are bounded where they are made
        self.u32(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Reads fields from the front of a slice.
#[derive(Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    /// The beginning of a body that is of this version, or of none that is known here.
    pub(crate) fn version(&mut self, known: u8) -> Result<(), FieldError> {
        if self.u8()? != known {
            return Err(FieldError::Value("a version that is not known here"));
        }
        self.zeros(7)
    }

    pub(crate) fn moment(&mut self) -> Result<Option<Micros>, FieldError> {
        let (is_there, moment) = (self.u64()?, self.u64()?);
        Ok((is_there == 1).then_some(Micros(moment.cast_signed())))
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FieldError> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(FieldError::Short)?;
        self.0 = rest;
        Ok(front)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FieldError> {
        self.bytes(N)?.try_into().map_err(|_| FieldError::Short)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, FieldError> {
        self.array::<1>().map(|byte| byte[0])
    }

    pub(crate) fn flag(&mut self) -> Result<bool, FieldError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FieldError::Value("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, FieldError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, FieldError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn u128(&mut self) -> Result<u128, FieldError> {
        self.array().map(u128::from_le_bytes)
    }

    pub(crate) fn zeros(&mut self, count: usize) -> Result<(), FieldError> {
        if self.bytes(count)?.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(FieldError::NotZero) }
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, FieldError> {
        let bytes = self.u32()? as usize;
        std::str::from_utf8(self.bytes(bytes)?).map_err(|_| FieldError::Utf8)
    }

    /// How many parts of at least `least_bytes` follow; more than the bytes can hold is an error before anything is made.
    pub(crate) fn count(&mut self, least_bytes: usize) -> Result<usize, FieldError> {
        let count = self.u32()? as usize;
        if count.saturating_mul(least_bytes) > self.0.len() { Err(FieldError::Short) } else { Ok(count) }
    }

    /// Nothing may be left.
    pub(crate) const fn end(&self) -> Result<(), FieldError> {
        if self.0.is_empty() { Ok(()) } else { Err(FieldError::Trailing) }
    }
}

/// In tests: of these bytes, which begin with version 1, nothing shorter, longer or later is read.
#[cfg(test)]
pub(crate) fn only_whole<T>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, FieldError>) {
    for end in 0..bytes.len() {
        assert!(read(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(read(&[bytes, &[0]].concat()).is_err());
    assert!(read(&[&[2], &bytes[1..]].concat()).is_err());
}
