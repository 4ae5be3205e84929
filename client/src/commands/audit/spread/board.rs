//! Which shard is measured where: decides only, and knows neither servers nor time.

use assay_audit::Shard;

/// One of the servers, by its place in the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(pub(super) usize);

/// Where a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nobody measures it. A server that has a job of it from before is its home, and comes first.
    Waiting {
        home: Option<At>,
    },
    Measured(At),
    Done,
}

/// The shards and the servers. A server measures one shard at a time.
#[derive(Debug)]
pub(super) struct Board {
    places: Vec<(Shard, Place)>,
    /// The servers that are used still.
    servers: Vec<At>,
}

impl Board {
    /// So many shards, all of which wait, and the servers.
    pub(super) fn new(shards: u32, servers: usize) -> Self {
        let places = Shard::all(shards).map(|shard| (shard, Place::Waiting { home: None })).collect();
        Self { places, servers: (0..servers).map(At).collect() }
    }

    /// A shard of which a server has a job already.
    pub(super) fn found(&mut self, shard: Shard, server: At) {
        self.put(shard, Place::Waiting { home: Some(server) });
    }

    /// What is to be begun now: a shard, and an idle server for it. It counts as being measured from here on.
    pub(super) fn next(&mut self) -> Option<(Shard, At)> {
        let next = self.servers.iter().find_map(|&server| Some((self.for_server(server)?, server)));
        if let Some((shard, server)) = next {
            self.put(shard, Place::Measured(server));
        }
        next
    }

    /// The shard that a server takes next: one that it has already, else one that no other has. `None`: it is at work, or there is none.
    fn for_server(&self, server: At) -> Option<Shard> {
        if self.places.iter().any(|(_, place)| *place == Place::Measured(server)) {
            return None;
        }
        let waiting = |home| self.places.iter().find(move |(_, place)| *place == Place::Waiting { home });
        waiting(Some(server)).or_else(|| waiting(None)).map(|(shard, _)| *shard)
    }

    /// A shard is measured.
    pub(super) fn done(&mut self, shard: Shard) {
        self.put(shard, Place::Done);
    }

    /// A server is not used any more, and its shards are for the others.
    pub(super) fn leave(&mut self, server: At) {
        self.servers.retain(|other| *other != server);
        for (_, place) in &mut self.places {
            if *place == Place::Measured(server) || *place == (Place::Waiting { home: Some(server) }) {
                *place = Place::Waiting { home: None };
            }
        }
    }

    /// The servers that are used still.
    pub(super) fn servers(&self) -> &[At] {
        &self.servers
    }

    /// How far it is, for people: `3 of 8 shards are done`.
    pub(super) fn counted(&self) -> String {
        let done = self.places.iter().filter(|(_, place)| *place == Place::Done).count();
        format!("{done} of {} shards are done", self.places.len())
    }

    fn put(&mut self, shard: Shard, to: Place) {
        for (_, place) in self.places.iter_mut().filter(|(other, _)| *other == shard) {
            *place = to;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All that is begun now, as `0 at 1`.
    fn begun(board: &mut Board) -> Vec<String> {
        std::iter::from_fn(|| board.next()).map(|(shard, at)| format!("{} at {}", shard.index(), at.0)).collect()
    }

    fn shard(index: u32, of: u32) -> Shard {
        Shard::new(index, of).unwrap()
    }

    #[test]
    fn each_server_measures_one_shard_at_a_time() {
        let mut board = Board::new(3, 2);
        assert_eq!(begun(&mut board), ["0 at 0", "1 at 1"]);
        board.done(shard(1, 3));
        assert_eq!((begun(&mut board), board.counted()), (vec!["2 at 1".to_owned()], "1 of 3 shards are done".into()));
        board.done(shard(0, 3));
        assert_eq!(begun(&mut board), [""; 0], "the last one is at work");
        board.done(shard(2, 3));
        assert_eq!((begun(&mut board).len(), board.counted()), (0, "3 of 3 shards are done".into()));
    }

    #[test]
    fn what_a_server_leaves_goes_to_one_that_is_idle_by_then() {
        let mut board = Board::new(2, 3);
        assert_eq!(begun(&mut board), ["0 at 0", "1 at 1"]);
        board.leave(At(0));
        assert_eq!(begun(&mut board), ["0 at 2"]);
        board.leave(At(2));
        assert_eq!(begun(&mut board), [""; 0], "the last one is at work");
        board.done(shard(1, 2));
        assert_eq!(begun(&mut board), ["0 at 1"]);
        board.leave(At(1));
        assert_eq!((begun(&mut board).len(), board.servers()), (0, &[][..]));
    }

    #[test]
    fn a_shard_goes_on_where_it_was_begun_while_that_server_is_there() {
        let mut board = Board::new(4, 2);
        board.found(shard(0, 4), At(1));
        board.found(shard(3, 4), At(1));
        assert_eq!(begun(&mut board), ["1 at 0", "0 at 1"]);
        board.done(shard(1, 4));
        assert_eq!(begun(&mut board), ["2 at 0"]);
        board.done(shard(2, 4));
        assert_eq!(begun(&mut board), [""; 0], "shard 3 is for the server that has it");
        board.leave(At(1));
        assert_eq!(begun(&mut board), ["0 at 0"]);
        board.done(shard(0, 4));
        assert_eq!(begun(&mut board), ["3 at 0"]);
    }
}
