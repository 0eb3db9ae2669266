//! Shares of what there is a limited number of: nobody gets more than theirs.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Counts what each holder has, and refuses more than `most`; cheap to clone.
#[derive(Clone)]
pub(crate) struct Shares<K> {
    most: usize,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

/// One that was taken; it is given back when it is dropped.
pub(crate) struct Share<K: Eq + Hash> {
    holder: K,
    taken: Arc<Mutex<HashMap<K, usize>>>,
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// At least one for everybody.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            taken: Arc::default(),
        }
    }

    /// One more for `holder`; otherwise how many it may have.
    pub(crate) fn take(&self, holder: K) -> Result<Share<K>, usize> {
        let mut taken = lock(&self.taken);
        let count = taken.entry(holder.clone()).or_default();
        if *count >= self.most {
            return Err(self.most);
        }
        *count += 1;
        Ok(Share {
            holder,
            taken: Arc::clone(&self.taken),
        })
    }
}

impl<K: Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        // A holder without any is forgotten, so that the map cannot grow.
        if let Some(count) = taken.get_mut(&self.holder) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.holder);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_gets_its_share_and_gives_it_back() {
        let shares = Shares::new(2);
        let (one, two) = (shares.take("a"), shares.take("a"));
        assert!(one.is_ok() && two.is_ok());
        assert_eq!(shares.take("a").err(), Some(2));
        assert!(shares.take("b").is_ok(), "others have theirs");
        drop(one);
        assert!(shares.take("a").is_ok());
        drop(two);
        assert!(lock(&shares.taken).is_empty());
    }
}
