//! The order of a stream read.

/// By seq, rising or falling.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Order {
    /// First event first.
    #[default]
    Asc,
    /// Last event first.
    Desc,
}
