//! Work that is done ahead, on a thread of its own.

use std::any::Any;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{Builder, JoinHandle};

/// What an iterator gives, taken from it on another thread some items ahead. Dropping this ends the thread, after the item
/// that it is at.
pub(super) struct Prefetch<T> {
    /// `None` once the thread is to end.
    items: Option<Receiver<T>>,
    /// `None` once it has ended.
    thread: Option<JoinHandle<()>>,
}

/// The iterator panicked, and with which words.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Panicked(pub(super) String);

impl<T: Send + 'static> Prefetch<T> {
    /// Starts the thread. Of what it has made at most `ahead` items wait.
    pub(super) fn start(
        ahead: NonZeroUsize,
        source: impl Iterator<Item = T> + Send + 'static,
    ) -> Result<Self, io::Error> {
        let (sender, items) = sync_channel(ahead.get());
        let work = move || {
            for item in source {
                if sender.send(item).is_err() {
                    break;
                }
            }
        };
        let thread = Builder::new().name("batches".into()).spawn(work)?;
        Ok(Self { items: Some(items), thread: Some(thread) })
    }
}

impl<T> Iterator for Prefetch<T> {
    type Item = Result<T, Panicked>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.as_ref()?.recv();
        item.map(Ok).ok().or_else(|| {
            self.items = None;
            let words = self.thread.take()?.join().err()?;
            Some(Err(Panicked(text(&*words))))
        })
    }
}

impl<T> Drop for Prefetch<T> {
    fn drop(&mut self) {
        // Closed first: the thread may wait for room.
        self.items = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn text(words: &(dyn Any + Send)) -> String {
    let owned = words.downcast_ref::<String>().cloned();
    owned.or_else(|| words.downcast_ref::<&str>().map(|&text| text.to_owned())).unwrap_or_else(|| "a panic".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const AHEAD: NonZeroUsize = NonZeroUsize::MIN;

    #[test]
    fn items_come_in_order_and_end() {
        let mut items = Prefetch::start(AHEAD, 0..100).unwrap();
        assert!(items.by_ref().eq((0..100).map(Ok)));
        assert_eq!(items.next(), None);
    }

    #[test]
    fn a_panic_is_an_error_behind_what_was_made_before_it() {
        let source = (0..5).map(|i| if i == 2 { panic!("item {i}") } else { i });
        let found: Vec<_> = Prefetch::start(AHEAD, source).unwrap().collect();
        assert_eq!(found, [Ok(0), Ok(1), Err(Panicked("item 2".into()))]);
    }

    #[test]
    fn dropping_ends_the_thread_though_items_are_left() {
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut items = Prefetch::start(AHEAD, (0..).map(move |i: u64| (i, Arc::strong_count(&held)))).unwrap();
        assert_eq!(items.next(), Some(Ok((0, 2))));
        drop(items);
        assert_eq!(Arc::strong_count(&alive), 1, "the thread still holds what it works with");
    }
}
