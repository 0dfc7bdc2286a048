use std::path::Path;

use super::*;
use crate::base::clock::{ManualClock, SystemRandom};
use crate::base::names::CertificateName;

fn key(name: &str) -> Secret {
    key::issue(&ClientName::parse(name).unwrap(), &SystemRandom).unwrap()
}

fn admission(clients: &str) -> Admission {
    let text = format!(
        "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\nclient_ca='ca.pem'\n[accounts.a]\nhost='h.test'\n\
         [stores.e.env]\n\
         [credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n{clients}"
    );
    let (config, _) =
        crate::config::file::parse(Path::new("test.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
    Admission::new(&config, None, None, &(ManualClock::start() as Arc<dyn Clock>))
}

fn peer(ip: &str) -> Peer {
    Peer::at(&crate::config::Listen::MAIN.into(), ip.parse().unwrap())
}

/// A login that does not wait.
fn login_as(admission: &Admission, peer: &Peer, presented: Option<&Secret>) -> Result<Grant, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        admission.arrives_to_log_in(peer).await?;
        admission.login(peer, &Shown { secret: presented, login_name: None }).await
    })
}

fn login(admission: &Admission, peer: &Peer, presented: &Secret) -> Result<Grant, Fault> {
    login_as(admission, peer, Some(presented))
}

fn kind(outcome: Result<Grant, Fault>) -> Kind {
    outcome.expect_err("refused").kind()
}

#[test]
fn a_key_opens_for_its_client_from_its_networks_only() {
    let (one, two) = (key("bi"), key("other"));
    let admission = admission(&format!(
        "[clients.bi]\ncredential='c'\nkeys=['{}']\nnetworks=['10.0.0.0/8']\n[clients.other]\ncredential='c'\n\
         keys=['{}']\n",
        key::stored(&one),
        key::stored(&two)
    ));
    let [inside, local, outside] = ["10.1.2.3", "127.0.0.1", "192.0.2.1"].map(peer);
    let grant = login(&admission, &inside, &one).unwrap();
    assert_eq!((grant.client().as_str(), grant.user()), ("bi", "U"));
    assert_eq!(kind(login(&admission, &local, &one)), Kind::NetworkDenied);
    assert_eq!(kind(login(&admission, &outside, &key("bi"))), Kind::NetworkDenied);
    assert!(login(&admission, &local, &two).is_ok());
    // From a network of any client, only the holder of the right key learns about networks.
    assert_eq!(kind(login(&admission, &local, &key("bi"))), Kind::KeyWrong);
    assert_eq!(kind(login(&admission, &local, &key("nobody"))), Kind::ClientUnknown);
}

#[test]
fn forms_of_keys_are_told_apart() {
    let good = key("powerbi-gateway");
    let text = good.expose();
    let admission = admission(&format!("[clients.x]\ncredential='c'\nkeys=['{}']\n", key::stored(&good)));
    let local = peer("127.0.0.1");
    for (presented, expected) in [
        ("hunter2", Kind::KeyForeign),
        ("", Kind::KeyForeign),
        (&text[..text.len() - 1], Kind::KeyDamaged),
        (&text.replacen("power", "powre", 1), Kind::KeyDamaged),
        (&format!("{text} "), Kind::KeyDamaged),
        ("pgk_", Kind::KeyDamaged),
        (text, Kind::ClientUnknown),
    ] {
        assert_eq!(kind(login(&admission, &local, &Secret::new(presented.to_owned()))), expected, "{presented}");
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
        let peer = peer(ip);
        assert!(login(&admission, &peer, &old).is_ok() && login(&admission, &peer, &new).is_ok());
        assert_eq!(kind(login(&admission, &peer, &shut)), Kind::NetworkDenied);
    }
}

#[test]
fn a_login_over_the_limit_is_told_how_long_to_wait() {
    let one = key("bi");
    let admission =
        admission(&format!("[clients.bi]\ncredential='c'\nkeys=['{}']\nlimits={{logins='2/h'}}\n", key::stored(&one)));
    let local = peer("127.0.0.1");
    assert!(login(&admission, &local, &one).is_ok() && login(&admission, &local, &one).is_ok());
    assert_eq!(kind(login(&admission, &local, &one)), Kind::LoginLimit);
}

#[test]
fn keys_are_random_and_keep_their_form() {
    let (a, b) = (key("x"), key("x"));
    assert!(!a.same_as(&b));
    let parts: Vec<_> = a.expose().split('_').collect();
    assert_eq!((parts[0], parts[1], parts[2].len(), parts[3].len()), ("pgk", "x", 43, 8));
}

fn shows(names: &[&str]) -> Peer {
    let names = names.iter().map(|name| CertificateName::parse(name).unwrap()).collect();
    let certificate =
        PeerCertificate { names, fingerprint: [7; 32], ends: std::time::UNIX_EPOCH, issued: Default::default() };
    Peer { certificate: Some(Arc::new(certificate)), ..peer("127.0.0.1") }
}

#[test]
fn a_certificate_is_a_second_factor_beside_a_key_and_the_only_one_without() {
    let both = key("both");
    let admission = admission(&format!(
        "[clients.both]\ncredential='c'\nkeys=['{}']\ncertificates=['dns:GW.example']\nbind='certificate'\n\
         [clients.alone]\ncredential='c'\ncertificates=['uri:spiffe://x/bi','dns:bi.example']\n",
        key::stored(&both)
    ));
    assert_eq!(kind(login(&admission, &peer("127.0.0.1"), &both)), Kind::PeerDenied);
    assert_eq!(kind(login(&admission, &shows(&["dns:bi.example"]), &both)), Kind::PeerDenied);
    let grant = login(&admission, &shows(&["dns:other", "dns:gw.example"]), &both).unwrap();
    assert_eq!((grant.client().as_str(), grant.bound().certificate), ("both", Some([7; 32])));
    // The certificate alone is not enough for a client with a key.
    assert_eq!(kind(login_as(&admission, &shows(&["dns:gw.example"]), None)), Kind::KeyMissing);
    for presented in [None, Some(&Secret::new("whatever".into()))] {
        let grant = login_as(&admission, &shows(&["uri:spiffe://x/bi"]), presented).unwrap();
        assert_eq!(grant.client().as_str(), "alone");
    }
    assert_eq!(kind(login_as(&admission, &peer("127.0.0.1"), None)), Kind::KeyMissing);
    assert_eq!(kind(login_as(&admission, &shows(&["dns:spiffe://x/bi"]), None)), Kind::KeyMissing);
    // A key decides, also if a certificate would be enough.
    assert_eq!(kind(login(&admission, &shows(&["dns:bi.example"]), &key("alone"))), Kind::KeyWrong);
}

#[test]
fn loopback_is_trusted_by_the_word_alone_and_for_named_users() {
    let user = |id: u32, name: &str| Some(LocalUser { id: id.to_string(), name: Some(name.to_owned()) });
    let from = |user| Peer { user, ..peer("::1") };
    let nothing = admission(&format!("[clients.x]\ncredential='c'\nkeys=['sha256:{:064}']\n", 1));
    assert_eq!(kind(login_as(&nothing, &peer("127.0.0.1"), None)), Kind::KeyMissing);
    let all = admission("[clients.x]\ncredential='c'\ntrust='loopback'\nnetworks=['127.0.0.1','::1','10.0.0.0/8']\n");
    assert!(login_as(&all, &peer("127.0.0.1"), None).is_ok() && !all.asks_for_users());
    assert_eq!(kind(login_as(&all, &peer("10.0.0.1"), None)), Kind::KeyMissing, "loopback and nothing else");
    let proxied = Peer { proxied: true, ..peer("127.0.0.1") };
    assert_eq!(kind(login_as(&all, &proxied, None)), Kind::KeyMissing, "a balancer's word is no loopback");
    let some = admission(
        "[clients.x]\ncredential='c'\ntrust='loopback'\nusers=['tableau','1001']\n\
         [clients.y]\ncredential='c'\ntrust='loopback'\nusers=['excel']\n",
    );
    assert!(some.asks_for_users());
    for (user, client) in [(user(7, "tableau"), "x"), (user(1001, "any"), "x"), (user(8, "excel"), "y")] {
        assert_eq!(login_as(&some, &from(user), None).unwrap().client().as_str(), client);
    }
    for stranger in [None, user(7, "7001"), user(1002, "1")] {
        assert_eq!(kind(login_as(&some, &from(stranger), None)), Kind::KeyMissing);
    }
}

/// A login that types this user name, with this credential.
fn named(admission: &Admission, secret: Option<&Secret>, typed: Option<&str>) -> Result<String, Kind> {
    let shown = Shown { secret, login_name: typed };
    let admitted = admission.log_in(&peer("127.0.0.1"), &shown);
    admitted.map(|grant| grant.client().to_string()).map_err(|refusal| refusal.fault.kind())
}

#[test]
fn a_user_name_says_which_client_it_is_and_never_takes_a_key_s_place() {
    let key = key("keyed");
    let admission = admission(&format!(
        "[clients.sales]\ncredential='c'\ntrust='loopback'\nlogin_names=['sales_*']\n\
         [clients.hr]\ncredential='c'\ntrust='loopback'\nlogin_names=['HR', 'PAYROLL']\n\
         [clients.keyed]\ncredential='c'\nkeys=['{}']\nlogin_names=['ETL']\n",
        key::stored(&key)
    ));
    assert_eq!(named(&admission, None, Some("SALES_1")), Ok("sales".to_owned()));
    assert_eq!(named(&admission, None, Some("hr")), Ok("hr".to_owned()));
    // Who shows nothing, or a password, is told of a key, and of no name.
    for typed in [Some("ETL"), Some("NOBODY"), None] {
        assert_eq!(named(&admission, None, typed), Err(Kind::KeyMissing), "{typed:?}");
    }
    let password = Secret::new("a password".into());
    assert_eq!(named(&admission, Some(&password), Some("ETL")), Err(Kind::KeyForeign));
    // The key says who it is; the name limits it.
    assert_eq!(named(&admission, Some(&key), Some("etl")), Ok("keyed".to_owned()));
    for typed in [Some("HR"), Some("ETL_2"), None] {
        assert_eq!(named(&admission, Some(&key), typed), Err(Kind::PeerDenied), "{typed:?}");
    }
}

#[test]
fn user_names_that_overlap_are_an_error_of_the_file() {
    let both = |one: &str, two: &str| {
        let text = format!(
            "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='h.test'\n[stores.e.env]\n\
             [credentials.c]\naccount='a'\nuser='U'\npat='e:PAT'\n\
             [clients.one]\ncredential='c'\ntrust='loopback'\n{one}\n\
             [clients.two]\ncredential='c'\ntrust='loopback'\n{two}\n"
        );
        crate::config::file::parse(Path::new("t.toml"), &text).map(|_| ()).map_err(|report| report.to_string())
    };
    assert_eq!(both("login_names=['A*']", "login_names=['B*']"), Ok(()));
    assert!(both("login_names=['A*']", "login_names=['AB']").unwrap_err().contains("`login_names` overlap"));
    assert!(both("login_names=['A*']", "").unwrap_err().contains("cannot tell"));
    assert!(both("login_names=['*A']", "login_names=['B']").unwrap_err().contains("login_names"));
    assert!(both("login_names=[]", "login_names=['B']").unwrap_err().contains("nobody could log in"));
}
