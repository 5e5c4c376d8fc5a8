//! A list that mostly holds one thing and allocates only for more: an append of one event is of one row and one stream.

use std::ops::{Deref, DerefMut};

/// One thing in place, or any number of them.
#[derive(Clone, Debug)]
pub(crate) enum Few<T> {
    One([T; 1]),
    Many(Vec<T>),
}

impl<T: Clone> Few<T> {
    /// So many of the same.
    pub(crate) fn filled(value: T, count: usize) -> Self {
        if count == 1 { Self::One([value]) } else { Self::Many(vec![value; count]) }
    }
}

impl<T> Few<T> {
    /// Keeps what is to be kept, in its order.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        let is_left = match self {
            Self::One([one]) => keep(one),
            Self::Many(many) => {
                many.retain(keep);
                true
            }
        };
        if !is_left {
            *self = Self::default();
        }
    }
}

impl<T> Default for Few<T> {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

impl<T> FromIterator<T> for Few<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut items = items.into_iter();
        let Some(first) = items.next() else { return Self::default() };
        let Some(second) = items.next() else { return Self::One([first]) };
        let mut many = Vec::with_capacity(2 + items.size_hint().0);
        many.extend([first, second]);
        many.extend(items);
        Self::Many(many)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_a_list_of_any_length_would() {
        for count in 0..5_u32 {
            let mut few: Few<u32> = (0..count).collect();
            assert_eq!(*few, *(0..count).collect::<Vec<_>>());
            assert_eq!(matches!(few, Few::One(_)), count == 1);
            few.iter_mut().for_each(|n| *n += 1);
            assert_eq!(few.iter().sum::<u32>(), (1..=count).sum::<u32>());
            few.retain(|n| n % 2 == 0);
            assert_eq!(*few, *(1..=count).filter(|n| n % 2 == 0).collect::<Vec<_>>());
            assert_eq!(*Few::filled(7, count as usize), *vec![7; count as usize]);
        }
    }
}
