//! The table of faults against its golden: a code that has been given away is never another kind's.

use std::fmt::Write as _;

use patgate::internal::base::fault::{Kind, Reply};

/// One line of each kind, in the order of the codes.
fn table() -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let rule = kind.rule();
        let reply = |reply| match reply {
            Reply::Refusal(code) => format!("200 {code}"),
            Reply::Retry(status, after) => format!("{status} retry {after}"),
            Reply::Status(status) => status.to_string(),
            Reply::Proxy(status) => format!("{status} as a proxy"),
            Reply::GiveUp => "give up".to_owned(),
        };
        let (login, elsewhere) = (reply(rule.at_login), reply(rule.elsewhere));
        let (code, name, owner) = (rule.code, rule.name, rule.owner.as_str());
        writeln!(text, "{code} {name} | {owner} | {:?} | {login} | {elsewhere} | {}", rule.level, rule.message)
            .unwrap();
    }
    text
}

#[test]
fn the_table_is_as_its_golden_says() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/house/faults.golden");
    let table = table();
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&golden, &table).unwrap();
    }
    let wanted = std::fs::read_to_string(&golden).unwrap();
    assert_eq!(table, wanted, "look at the difference, and write the golden again with BLESS=1");
}

#[test]
fn codes_are_in_order_and_each_kind_has_a_page() {
    let codes: Vec<_> = Kind::ALL.iter().map(|kind| kind.rule().code.0).collect();
    assert!(codes.is_sorted() && codes.len() >= 60, "{}", codes.len());
    for kind in Kind::ALL {
        assert!(!kind.rule().meaning.trim().is_empty(), "{kind:?}");
        assert_ne!(kind.page().next_step, kind.rule().client_step, "{kind:?}: the operator does something else");
    }
}
