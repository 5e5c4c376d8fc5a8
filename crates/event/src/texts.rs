//! A column of texts: one heap of UTF-8, and where each text ends.

use rkyv::{Archive, Archived, Serialize};

/// Texts of the rows, one after the other. An absent text is an empty one; the row's flags tell them apart.
/// A column in which no row has a text may be wholly empty (`ends` empty too).
#[derive(Archive, Serialize, Debug, Default, Clone, PartialEq, Eq)]
pub struct Texts {
    /// End of each text in the heap, in bytes, never falling.
    pub ends: Vec<u32>,
    /// The heap.
    pub heap: String,
}

impl Texts {
    /// Appends a text.
    pub fn push(&mut self, text: &str) {
        self.heap.push_str(text);
        self.ends.push(self.heap.len() as u32);
    }

    /// The text of a row; empty where there is none.
    #[must_use]
    pub fn get(&self, row: usize) -> &str {
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).copied().unwrap_or(0) };
        let end = self.ends.get(row).copied().unwrap_or(start);
        self.heap.get(start as usize..end as usize).unwrap_or("")
    }

    /// Forgets all texts, keeps the room.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.heap.clear();
    }
}

/// Ends and heap of an archived column, found once for many rows.
#[derive(Clone, Copy)]
pub struct TextColumn<'a> {
    ends: &'a [Archived<u32>],
    heap: &'a [u8],
}

impl<'a> TextColumn<'a> {
    /// The bytes of the text of a row; none where there is none.
    #[must_use]
    #[inline]
    pub fn bytes(self, row: usize) -> &'a [u8] {
        self.heap.get(self.range(row)).unwrap_or_default()
    }

    #[inline]
    fn range(self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends.get(row - 1).map_or(0, |e| e.to_native()) };
        let end = self.ends.get(row).map_or(start, |e| e.to_native());
        start as usize..end as usize
    }
}

impl ArchivedTexts {
    /// The text of a row; empty where there is none.
    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> &str {
        self.heap.as_str().get(self.column().range(row)).unwrap_or("")
    }

    /// The bytes of that text.
    #[must_use]
    #[inline]
    pub fn bytes(&self, row: usize) -> &[u8] {
        self.column().bytes(row)
    }

    /// Where they stand, for who asks for many of them.
    #[must_use]
    #[inline]
    pub fn column(&self) -> TextColumn<'_> {
        TextColumn { ends: self.ends.as_slice(), heap: self.heap.as_str().as_bytes() }
    }

    /// Bytes of the shortest text and of the longest one; `None`: there is no text.
    #[must_use]
    pub fn lengths(&self) -> Option<(usize, usize)> {
        let (mut shortest, mut longest, mut start) = (u32::MAX, 0, 0);
        for end in self.ends.iter() {
            let end = end.to_native();
            let len = end.saturating_sub(start);
            (shortest, longest, start) = (shortest.min(len), longest.max(len), end);
        }
        (!self.ends.is_empty()).then_some((shortest as usize, longest as usize))
    }

    /// Whether all texts are the same one. Costs two looks over the column, none text by text.
    #[must_use]
    pub(crate) fn are_all_one(&self) -> bool {
        let TextColumn { ends, heap } = self.column();
        let Some(first) = ends.first().map(|end| end.to_native()) else { return true };
        let mut next = 0_u32;
        let are_as_long = ends.iter().all(|end| {
            next = next.wrapping_add(first);
            end.to_native() == next
        });
        // each is the one before it
        are_as_long && heap.get(first as usize..).is_some_and(|rest| heap.starts_with(rest))
    }

    /// Whether the ends rise to the heap's length on character boundaries, for `rows` texts or none at all.
    #[must_use]
    pub fn is_sound(&self, rows: usize) -> bool {
        let heap = self.heap.as_str();
        if self.ends.is_empty() {
            return heap.is_empty();
        }
        let mut last = 0;
        for end in self.ends.iter() {
            let end = end.to_native() as usize;
            if end < last || !heap.is_char_boundary(end) {
                return false;
            }
            last = end;
        }
        self.ends.len() == rows && last == heap.len()
    }
}
