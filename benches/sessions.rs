//! The cost of sealing, and of sessions and limits in memory: `cargo bench --bench sessions` (Linux).
//!
//! Times are the median of rounds on one core; bytes are the growth of the process's resident memory.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, missing_docs)]

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use patgate::internal::admit::{Admission, Peer};
use patgate::internal::base::clock::{Clock, SystemClock, SystemRandom};
use patgate::internal::base::epoch::EpochMillis;
use patgate::internal::base::ids::{KeyTag, PatId, SessionId, UserTag};
use patgate::internal::base::names::ClientName;
use patgate::internal::base::secret::Secret;
use patgate::internal::config::{Listen, file};
use patgate::internal::session::Registry;
use patgate::internal::ticket::{Bound, Keyring, Sealer, Ticket, TokenKind};

const EACH: u32 = 20_000;
const MANY: u32 = 50_000;

fn main() {
    // `cargo test --benches` only checks that it compiles.
    if !std::env::args().any(|arg| arg == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ring: Vec<String> = (0..30).map(|number| format!("{number:0>64}")).collect();
    let (keys, _reread) = Sealer::new(Keyring::parse(&Secret::new(ring.join("\n"))).unwrap());
    let ticket = ticket();
    let sealed = keys.seal(&ticket).unwrap();
    println!("a token of {} characters, sealed: {}", ticket.token.expose().len(), sealed.len());
    println!("seal: {:.2} µs", median(|| drop(keys.seal(&ticket).unwrap())));
    println!("open: {:.2} µs", median(|| drop(runtime.block_on(keys.open(&sealed)).unwrap())));

    let sessions = Registry::default();
    let count = Arc::default();
    let from = IpAddr::from([127, 0, 0, 1]);
    let grown = growth(|| {
        for _ in 0..MANY {
            let session = Ticket { session: SessionId::new(&SystemRandom).unwrap(), ..ticket.clone() };
            sessions.seen(&session, from, SystemClock.now(), &count);
        }
    });
    println!("a session on the list: {} bytes", grown / u64::from(MANY));

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let mut all = None;
    let grown = growth(|| {
        let config = config(5_000, "");
        let admission = Admission::new(&config, None, None, &clock);
        all = Some((config, admission));
    });
    println!("a client, with its part of the configuration: {} bytes", grown / 5_000);
    let limited = config(1, "[limits]\nsource={logins=['1000/s','60000/min','600000/10min']}\n");
    let limited = Admission::new(&limited, None, None, &clock);
    let grown = growth(|| {
        for number in 0..MANY {
            let peer = Peer::at(&Listen::MAIN.into(), IpAddr::from(number.to_be_bytes()));
            runtime.block_on(limited.arrives_to_log_in(&peer)).unwrap();
        }
    });
    println!("a source with three windows: {} bytes", grown / u64::from(MANY));
    drop(all);
}

fn ticket() -> Ticket {
    Ticket {
        kind: TokenKind::Session,
        session: SessionId::new(&SystemRandom).unwrap(),
        client: ClientName::parse("powerbi-gateway").unwrap(),
        key: KeyTag([1; 8]),
        user_tag: UserTag([2; 8]),
        credential: "powerbi".into(),
        account: "prod".into(),
        pat: PatId::parse("0123456789ab").unwrap(),
        opened: EpochMillis(1_700_000_000_000),
        number: 1_700_000_000_000,
        context: None,
        expires: EpochMillis(u64::MAX / 2),
        bound: Bound::default(),
        token: Secret::new("t".repeat(250)),
    }
}

fn config(clients: u32, tables: &str) -> patgate::internal::config::Config {
    let keys = |number: u32| {
        format!("[clients.c{number}]\ncredential='c'\nkeys=['sha256:{number:0>64}']\nnetworks=['0.0.0.0/0']\n")
    };
    let text = format!(
        "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='h.test'\n[stores.e.env]\n\
         [credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n{}{tables}",
        (1..=clients).map(keys).collect::<String>()
    );
    file::parse(Path::new("bench.toml"), &text).unwrap_or_else(|report| panic!("{report}")).0
}

/// Microseconds each.
fn median(mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<f64> = (0..15)
        .map(|_| {
            let started = Instant::now();
            (0..EACH).for_each(|_| work());
            started.elapsed().as_secs_f64() * 1e6 / f64::from(EACH)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

/// Bytes of resident memory that `work` leaves behind.
fn growth(work: impl FnOnce()) -> u64 {
    let resident = || {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let before = resident();
    work();
    resident().saturating_sub(before)
}
