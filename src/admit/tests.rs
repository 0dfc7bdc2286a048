use std::path::Path;

use super::*;
use crate::base::clock::SystemRandom;

fn key(name: &str) -> Secret {
    key::issue(&ClientName::parse(name).unwrap(), &SystemRandom).unwrap()
}

fn admission(clients: &str) -> Admission {
    let text = format!(
        "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='h.test'\n[stores.e.env]\n\
         [credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n{clients}"
    );
    let (config, _) =
        crate::config::file::parse(Path::new("test.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
    Admission::new(&config, None)
}

fn kind(outcome: Result<Grant, Fault>) -> Kind {
    outcome.expect_err("refused").kind()
}

#[test]
fn a_key_opens_for_its_client_from_its_networks_only() {
    let (one, two) = (key("bi"), key("other"));
    let admission = admission(&format!(
        "[clients.bi]\ncredential='c'\nkeys=['{}']\nnetworks=['10.0.0.0/8']\n[clients.other]\ncredential='c'\nkeys=['{}']\n",
        key::stored(&one),
        key::stored(&two)
    ));
    let [inside, local, outside] = ["10.1.2.3", "127.0.0.1", "192.0.2.1"].map(|ip| ip.parse().unwrap());
    let grant = admission.login(inside, &one).unwrap();
    assert_eq!((grant.client().as_str(), grant.user()), ("bi", "U"));
    assert_eq!(kind(admission.login(local, &one)), Kind::NetworkDenied);
    assert_eq!(kind(admission.login(outside, &key("bi"))), Kind::NetworkDenied);
    assert!(admission.login(local, &two).is_ok());
    // From a network of somebody's, only the right key learns about networks.
    assert_eq!(kind(admission.login(local, &key("bi"))), Kind::KeyWrong);
    assert_eq!(kind(admission.login(local, &key("nobody"))), Kind::ClientUnknown);
}

#[test]
fn forms_of_keys_are_told_apart() {
    let good = key("powerbi-gateway");
    let text = good.expose();
    let admission = admission(&format!("[clients.x]\ncredential='c'\nkeys=['{}']\n", key::stored(&good)));
    let local = "127.0.0.1".parse().unwrap();
    for (presented, expected) in [
        ("hunter2", Kind::KeyForeign),
        ("", Kind::KeyForeign),
        (&text[..text.len() - 1], Kind::KeyDamaged),
        (&text.replacen("power", "powre", 1), Kind::KeyDamaged),
        (&format!("{text} "), Kind::KeyDamaged),
        ("pgk_", Kind::KeyDamaged),
        (text, Kind::ClientUnknown),
    ] {
        assert_eq!(kind(admission.login(local, &Secret::new(presented.to_owned()))), expected, "{presented}");
    }
}

#[test]
fn two_keys_serve_while_one_is_exchanged_and_an_empty_list_admits_nobody() {
    let (old, new, shut) = (key("bi"), key("bi"), key("shut"));
    let admission = admission(&format!(
        "[clients.bi]\ncredential='c'\nkeys=['{}','{}']\n[clients.shut]\ncredential='c'\nkeys=['{}']\nnetworks=[]\n",
        key::stored(&old),
        key::stored(&new),
        key::stored(&shut)
    ));
    for ip in ["127.0.0.1", "::1"] {
        let peer = ip.parse().unwrap();
        assert!(admission.login(peer, &old).is_ok() && admission.login(peer, &new).is_ok());
        assert_eq!(kind(admission.login(peer, &shut)), Kind::NetworkDenied);
    }
}

#[test]
fn a_login_over_the_limit_is_told_how_long_to_wait() {
    let one = key("bi");
    let admission =
        admission(&format!("[clients.bi]\ncredential='c'\nkeys=['{}']\nlimits={{logins='2/h'}}\n", key::stored(&one)));
    let local = "127.0.0.1".parse().unwrap();
    assert!(admission.login(local, &one).is_ok() && admission.login(local, &one).is_ok());
    assert_eq!(kind(admission.login(local, &one)), Kind::LoginLimit);
}

#[test]
fn keys_are_random_and_keep_their_form() {
    let (a, b) = (key("x"), key("x"));
    assert!(!a.same_as(&b));
    let parts: Vec<_> = a.expose().split('_').collect();
    assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("pgk", "x", 43, 8));
}
