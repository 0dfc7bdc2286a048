//! [`Queue`]: the order in which the requests of one service user are sent.
//!
//! Clients take turns. In its turn a client sends one request: the oldest login or the oldest REST request, in
//! alternation while both wait. So a client with nothing waiting is served after at most one request of every other
//! client, however many requests they have waiting.

use std::collections::{HashMap, VecDeque};

use crate::base::names::ClientName;

/// Which of a client's two lines a request waits in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// A login.
    Login,
    /// A REST request.
    Rest,
}

/// What may happen to the first request of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It goes now.
    Go,
    /// It keeps its place, and its client's turn passes.
    Wait,
    /// Nobody waits for it any more.
    Gone,
}

/// The waiting requests of one service user.
pub(super) struct Queue<T> {
    /// The clients with waiting requests, in the order of their turns.
    turns: VecDeque<ClientName>,
    lines: HashMap<ClientName, Lines<T>>,
}

/// The waiting requests of one client.
struct Lines<T> {
    logins: VecDeque<T>,
    rest: VecDeque<T>,
    /// Whose turn it is.
    next: RequestKind,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), lines: HashMap::new() }
    }
}

impl<T> Lines<T> {
    fn line(&mut self, kind: RequestKind) -> &mut VecDeque<T> {
        match kind {
            RequestKind::Login => &mut self.logins,
            RequestKind::Rest => &mut self.rest,
        }
    }

    fn is_empty(&self) -> bool {
        self.logins.is_empty() && self.rest.is_empty()
    }

    /// The request that goes in this client's turn.
    fn take(&mut self, judge: &mut impl FnMut(&T) -> Turn) -> Option<T> {
        for kind in [self.next, self.next.other()] {
            let line = self.line(kind);
            while let Some(first) = line.front() {
                match judge(first) {
                    Turn::Gone => drop(line.pop_front()),
                    Turn::Wait => break,
                    Turn::Go => {
                        let first = line.pop_front();
                        self.next = kind.other();
                        return first;
                    }
                }
            }
        }
        None
    }
}

impl RequestKind {
    fn other(self) -> Self {
        match self {
            Self::Login => Self::Rest,
            Self::Rest => Self::Login,
        }
    }
}

impl<T> Queue<T> {
    /// Adds a request at the end of its line, or at its head if it was there before.
    pub(super) fn push(&mut self, client: &ClientName, kind: RequestKind, request: T, at_head: bool) {
        let lines = self.lines.entry(client.clone()).or_insert_with(|| {
            self.turns.push_back(client.clone());
            Lines { logins: VecDeque::new(), rest: VecDeque::new(), next: kind }
        });
        match at_head {
            true => lines.line(kind).push_front(request),
            false => lines.line(kind).push_back(request),
        }
    }

    /// Takes the next request that `judge` lets go; its client's next turn comes after those of all others.
    pub(super) fn take(&mut self, mut judge: impl FnMut(&T) -> Turn) -> Option<T> {
        let mut at = 0;
        while let Some(client) = self.turns.get(at) {
            let Some(lines) = self.lines.get_mut(client) else {
                self.turns.remove(at);
                continue;
            };
            let taken = lines.take(&mut judge);
            let is_empty = lines.is_empty();
            if taken.is_some() || is_empty {
                let Some(client) = self.turns.remove(at) else { return taken };
                match is_empty {
                    true => drop(self.lines.remove(&client)),
                    false => self.turns.push_back(client),
                }
            } else {
                at += 1;
            }
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// Removes the requests for which `told` is true, and returns them.
    pub(super) fn remove(&mut self, mut told: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut removed = Vec::new();
        for lines in self.lines.values_mut() {
            for line in [&mut lines.logins, &mut lines.rest] {
                if line.iter().any(&mut told) {
                    for request in std::mem::take(line) {
                        match told(&request) {
                            true => removed.push(request),
                            false => line.push_back(request),
                        }
                    }
                }
            }
        }
        self.lines.retain(|_, lines| !lines.is_empty());
        let lines = &self.lines;
        self.turns.retain(|client| lines.contains_key(client));
        removed
    }

    /// All waiting requests.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.lines.values().flat_map(|lines| lines.logins.iter().chain(&lines.rest))
    }

    /// The same, to change them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.lines.values_mut().flat_map(|lines| lines.logins.iter_mut().chain(&mut lines.rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientName {
        ClientName::parse(name).unwrap()
    }

    fn order(queue: &mut Queue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take(|_| Turn::Go)).collect()
    }

    #[test]
    fn clients_take_turns_and_within_a_client_logins_and_rest_alternate() {
        let mut queue = Queue::default();
        for request in ["a1", "a2", "a3"] {
            queue.push(&client("a"), RequestKind::Login, request, false);
        }
        for request in ["ar1", "ar2"] {
            queue.push(&client("a"), RequestKind::Rest, request, false);
        }
        queue.push(&client("b"), RequestKind::Login, "b1", false);
        assert_eq!(order(&mut queue), ["a1", "b1", "ar1", "a2", "ar2", "a3"]);
        assert!(queue.turns.is_empty() && queue.lines.is_empty());
    }

    #[test]
    fn a_newcomer_waits_for_one_request_of_each_other_client() {
        let mut queue = Queue::default();
        for crowd in ["a", "b", "c"] {
            for _ in 0..50 {
                queue.push(&client(crowd), RequestKind::Rest, "old", false);
            }
        }
        let _served: Vec<_> = (0..10).filter_map(|_| queue.take(|_| Turn::Go)).collect();
        queue.push(&client("new"), RequestKind::Login, "new", false);
        let at = order(&mut queue).iter().position(|request| *request == "new").unwrap();
        assert!(at <= 3, "{at}");
    }

    #[test]
    fn who_waits_keeps_the_turn_and_who_left_is_forgotten() {
        let mut queue = Queue::default();
        queue.push(&client("a"), RequestKind::Login, "waits", false);
        queue.push(&client("b"), RequestKind::Login, "gone", false);
        queue.push(&client("b"), RequestKind::Login, "b", false);
        let judge = |request: &&str| match *request {
            "waits" => Turn::Wait,
            "gone" => Turn::Gone,
            _ => Turn::Go,
        };
        assert_eq!(queue.take(judge), Some("b"));
        assert_eq!(queue.take(judge), None);
        queue.push(&client("b"), RequestKind::Login, "later", false);
        queue.push(&client("a"), RequestKind::Login, "again", true);
        assert_eq!(order(&mut queue), ["again", "later", "waits"]);
    }

    #[test]
    fn those_who_are_told_leave_no_turn_behind() {
        let mut queue = Queue::default();
        for request in ["a", "b"] {
            queue.push(&client("a"), RequestKind::Login, request, false);
        }
        queue.push(&client("b"), RequestKind::Rest, "a", false);
        assert_eq!(queue.remove(|request| *request == "a"), ["a", "a"]);
        assert_eq!((queue.turns.len(), order(&mut queue)), (1, vec!["b"]));
    }
}
