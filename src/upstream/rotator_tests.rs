use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;

use super::*;
use crate::base::clock::{Clock, SystemClock, SystemRandom};
use crate::base::ids::SessionId;
use crate::base::secret::Secret;
use crate::config::file;
use crate::snowflake::key_pair::KeyPair;
use crate::snowflake::token_statement::{TokenStatement, TokenStatus};
use crate::standin::{self, Certificates, PatState, Saying, StandIn, UserSettings};
use crate::tls;
use crate::upstream::AccountState;

const PEM: &str = include_str!("../../tests/keys/ec.pem");

struct World {
    standin: StandIn,
    account: AccountClient,
    rotator: LoginSecret,
    _home: tempfile::TempDir,
}

/// A service user, and a rotator with a key pair that may change its tokens.
async fn world() -> World {
    let home = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(home.path(), &["localhost"]).unwrap();
    let server = tls::server(&certificates.pair(), None).unwrap();
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let standin = standin::start(local, server, Arc::new(SystemRandom)).await.unwrap();
    let text = format!(
        "[listen]\naddress='127.0.0.1:0'\ndanger_plaintext=true\n[accounts.a]\nhost='localhost'\nname='myorg-acct'\n\
         address='{}'\nca='{}'\n[stores.e.env]\n[credentials.c]\naccount='a'\nuser='SVC'\npat='e:PAT'\n\
         [clients.x]\ncredential='c'\nkeys=['sha256:{}']\n",
        standin.address,
        certificates.ca.display(),
        "0".repeat(64)
    );
    let (config, _) = file::parse(Path::new("t.toml"), &text).unwrap_or_else(|report| panic!("{report}"));
    let state = AccountState::new(&config.accounts["a"], &config.upstream, None).unwrap();
    let account = AccountClient::new(&state, None).unwrap();
    let pem = || Secret::new(PEM.into());
    let spki = KeyPair::parse(&pem(), None).unwrap_or_else(|error| panic!("{error}")).public_pem_body();
    standin.state.set_account("myorg-acct");
    standin.state.set_user("svc", UserSettings::default());
    standin.state.add_public_key("rotator", base64::prelude::BASE64_STANDARD.decode(spki).unwrap());
    standin.state.allow_changes("rotator", "svc", true);
    let rotator = LoginSecret::key_pair(pem(), None).unwrap_or_else(|error| panic!("{error}"));
    World { standin, account, rotator, _home: home }
}

impl World {
    async fn run_as(&self, user: &str, secret: &LoginSecret, statement: TokenStatement<'_>) -> Ran {
        let id = SessionId::new(&SystemRandom).unwrap().as_uuid();
        let by = SqlUser { user, secret };
        self.account.run(&by, SystemClock.wall(), &id, &statement.sql("svc")).await
    }

    async fn run(&self, statement: TokenStatement<'_>) -> Ran {
        self.run_as("rotator", &self.rotator, statement).await
    }

    async fn rows(&self, statement: TokenStatement<'_>) -> Rows {
        match self.run(statement).await {
            Ran::Answered(rows) => rows,
            Ran::Refused { status, refusal } => panic!("{status} {}", refusal.cause()),
            Ran::Unsent(fault) | Ran::Lost(fault) => panic!("{:?}", fault.cause()),
        }
    }
}

const ADD: TokenStatement<'_> = TokenStatement::Add { token: "bi", role: Some("BI"), days: Some(90) };
const ROTATE: TokenStatement<'_> = TokenStatement::Rotate { token: "bi", hours: 2 };

#[tokio::test]
async fn a_rotator_looks_makes_rotates_disables_and_removes() {
    let world = world().await;
    assert!(world.rows(TokenStatement::Show).await.tokens("svc").unwrap().is_empty());
    let first = world.rows(ADD).await.made().unwrap_or_else(|why| panic!("{why}"));
    let second = world.rows(ROTATE).await.made().unwrap_or_else(|why| panic!("{why}"));
    assert!(!first.secret.same_as(&second.secret) && first.rotated.is_none());
    let old = second.rotated.unwrap();
    let tokens = world.rows(TokenStatement::Show).await.tokens("svc").unwrap();
    let token = |name: &str| tokens.iter().find(|token| token.name == name).unwrap();
    assert_eq!((token("BI").status.clone(), token("BI").role.as_deref()), (TokenStatus::Active, Some("BI")));
    assert_eq!(token(&old).rotated_to.as_deref(), Some("BI"));
    let left = token(&old).expires.unwrap().duration_since(SystemClock.wall()).unwrap();
    assert!(left <= Duration::from_secs(7_200) && left > Duration::from_secs(7_000), "{left:?}");
    world.rows(TokenStatement::Remove { token: &old }).await;
    world.rows(TokenStatement::SetDisabled { token: "BI", disabled: true }).await;
    let tokens = world.rows(TokenStatement::Show).await.tokens("svc").unwrap();
    assert_eq!((tokens.len(), &tokens[0].status), (1, &TokenStatus::Disabled));
}

#[tokio::test]
async fn a_refusal_says_whether_it_is_the_caller_s_or_the_statement_s() {
    let world = world().await;
    let refused = |ran: Ran| match ran {
        Ran::Refused { status, refusal } => (status, refusal.code),
        Ran::Answered(_) | Ran::Unsent(_) | Ran::Lost(_) => panic!("it was not refused"),
    };
    let missing = TokenStatement::Remove { token: "other" };
    assert_eq!(refused(world.run(missing).await), (422, "002003".to_owned()));
    world.standin.state.allow_changes("rotator", "svc", false);
    assert_eq!(refused(world.run(TokenStatement::Show).await), (422, "003001".to_owned()));
    assert_eq!(refused(world.run_as("stranger", &world.rotator, ADD).await), (401, "390144".to_owned()));
    // With a PAT of its own, too.
    world.standin.state.set_pat("other", "canary-pat", PatState::Active);
    world.standin.state.allow_changes("other", "svc", true);
    let pat = LoginSecret::Pat(Secret::new("canary-pat".into()));
    assert!(matches!(world.run_as("other", &pat, ADD).await, Ran::Answered(_)));
    let wrong = LoginSecret::Pat(Secret::new("canary-wrong".into()));
    assert_eq!(refused(world.run_as("other", &wrong, ADD).await).0, 401);
    let said = Saying { code: "099203".into(), text: "not now".into() };
    world.standin.state.refuse_statements("rotate", 1, said, "0A000");
    world.standin.state.allow_changes("rotator", "svc", true);
    assert_eq!(refused(world.run(ROTATE).await), (422, "099203".to_owned()));
}

#[tokio::test]
async fn a_lost_answer_is_lost_and_the_statement_may_have_been_carried_out() {
    let world = world().await;
    world.standin.state.lose_answers("add programmatic", 1);
    assert!(matches!(world.run(ADD).await, Ran::Lost(_)));
    let tokens = world.rows(TokenStatement::Show).await.tokens("svc").unwrap();
    assert_eq!(tokens.len(), 1, "it was carried out, once");
    for (status, body) in [(200, "{}"), (202, "{}"), (408, "{}"), (500, ""), (503, "")] {
        assert!(matches!(judged(status, body.as_bytes()), Ran::Lost(_)), "{status}");
    }
    assert!(matches!(judged(429, b""), Ran::Unsent(_)) && matches!(judged(307, b""), Ran::Unsent(_)));
    assert!(matches!(judged(403, b"<html>"), Ran::Refused { status: 403, .. }));
}
