use std::time::Duration;

use base64::Engine as _;
use http::HeaderMap;
use http_body_util::BodyExt;

use super::*;
use crate::base::clock::{Clock, Env, ManualClock, SystemRandom};
use crate::base::secret::Secret;
use crate::snowflake::key_pair::KeyPair;
use crate::standin::serve;
use crate::standin::users::UserSettings;

struct World {
    clock: Arc<ManualClock>,
    state: Arc<State>,
    key: KeyPair,
}

/// A service user with a token, and a rotator with a key pair that may change its tokens.
fn world() -> World {
    let clock = ManualClock::start();
    let state = Arc::new(State::new(Env { clock: clock.clone(), random: Arc::new(SystemRandom) }));
    let key = KeyPair::parse(&Secret::new(include_str!("../../tests/keys/ec.pem").into()), None).unwrap();
    state.set_user("svc", UserSettings::default());
    let spki = base64::prelude::BASE64_STANDARD.decode(key.public_pem_body()).unwrap();
    state.add_public_key("rotator", spki);
    state.allow_changes("rotator", "svc", true);
    World { clock, state, key }
}

fn request(path: &str, query: &str, headers: &[(&'static str, &str)], body: &Value) -> Asked {
    let header = |(name, value): &(&'static str, &str)| {
        (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    Asked {
        method: Method::POST,
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.iter().map(header).collect::<HeaderMap>(),
        body: body.to_string().into_bytes(),
    }
}

async fn read(response: Response<Made>) -> (u16, Value) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

impl World {
    fn jwt(&self) -> String {
        let token = self.key.token("acct", "rotator", self.clock.wall(), Duration::from_secs(60)).unwrap();
        token.expose().to_owned()
    }

    async fn send(&self, bearer: &str, kind: &str, query: &str, sql: &str) -> Result<(u16, Value), Gone> {
        let authorization = format!("Bearer {bearer}");
        let headers = [("authorization", authorization.as_str()), (TOKEN_TYPE_NAME, kind)];
        let asked = request(STATEMENTS, query, &headers, &json!({ "statement": sql }));
        Ok(read(answer(&self.state, &asked).await?).await)
    }

    /// As the rotator.
    async fn sql(&self, sql: &str) -> (u16, Value) {
        self.send(&self.jwt(), KEY_PAIR, "", sql).await.unwrap()
    }

    /// The code of a login with this credential; empty if it succeeds.
    async fn log_in(&self, user: &str, authenticator: &str, token: &str, query: &str) -> String {
        let data = json!({ "LOGIN_NAME": user, "AUTHENTICATOR": authenticator, "TOKEN": token });
        let asked = request("/session/v1/login-request", query, &[], &json!({ "data": data }));
        let (_, body) = read(serve::log_in(&self.state, &asked)).await;
        body["code"].as_str().unwrap_or_default().to_owned()
    }

    async fn pat(&self, token: &str) -> String {
        self.log_in("SVC", PAT_AUTHENTICATOR, token, "").await
    }
}

const TOKEN_TYPE_NAME: &str = "x-snowflake-authorization-token-type";
const ADD: &str = "ALTER USER svc ADD PAT p ROLE_RESTRICTION = 'BI'";
const ROTATE: &str = "ALTER USER svc ROTATE PAT p EXPIRE_ROTATED_TOKEN_AFTER_HOURS = 2";

#[tokio::test]
async fn a_token_is_made_rotated_and_ends_as_at_snowflake() {
    let world = world();
    let (status, made) = world.sql(ADD).await;
    assert_eq!((status, &made["code"], &made["data"][0][0]), (200, &"090001".into(), &"P".into()), "{made}");
    let first = made["data"][0][1].as_str().unwrap().to_owned();
    assert_eq!(made["resultSetMetaData"]["rowType"][1]["name"], "token_secret");
    assert!(made["statementHandle"].is_string() && first.split('.').count() == 3);
    assert_eq!(world.pat(&first).await, "");
    assert_eq!(world.log_in("svc", PAT_AUTHENTICATOR, &first, "roleName=ADMIN").await, "390189");
    let (_, rotated) = world.sql(ROTATE).await;
    let second = rotated["data"][0][1].as_str().unwrap().to_owned();
    assert_eq!((world.pat(&first).await, world.pat(&second).await), (String::new(), String::new()));
    world.clock.advance(Duration::from_secs(2 * 3_600));
    assert_eq!((world.pat(&first).await.as_str(), world.pat(&second).await.as_str()), ("394401", ""));
    world.sql("ALTER USER svc MODIFY PAT p SET DISABLED = TRUE").await;
    assert_eq!(world.pat(&second).await, "394400");
    world.sql("ALTER USER svc REMOVE PAT p").await;
    assert_eq!(world.pat(&second).await, "394400");
}

#[tokio::test]
async fn a_pat_does_not_change_the_pats_of_its_user() {
    let world = world();
    let secret = world.state.add_token("svc", "p", Some("BI"), None).unwrap();
    let (status, body) = world.send(&secret, PAT_AUTHENTICATOR, "", "ALTER USER ROTATE PAT p").await.unwrap();
    assert_eq!(status, 422, "{body}");
    assert!(body["sqlState"].is_string() && body["message"].as_str().unwrap().contains("same user"), "{body}");
    // The same in a session.
    let session = world.state.open_session(Caller { user: "SVC".into(), by_pat: true, role: None });
    let ran = world.state.run(&session.caller, "ALTER USER ROTATE PAT p").unwrap();
    assert_eq!(ran.unwrap_err().code, body["code"].as_str().unwrap());
    let shown = world.send(&secret, PAT_AUTHENTICATOR, "", "SHOW USER PATS").await.unwrap();
    assert_eq!((shown.0, &shown.1["data"][0][1]), (200, &"SVC".into()));
}

#[tokio::test]
async fn a_key_pair_logs_in_and_what_is_wrong_is_one_code() {
    let world = world();
    let jwt = world.jwt();
    assert_eq!(world.log_in("rotator", "SNOWFLAKE_JWT", &jwt, "").await, "");
    assert_eq!(world.log_in("svc", "SNOWFLAKE_JWT", &jwt, "").await, "390144");
    assert_eq!(world.log_in("rotator", PAT_AUTHENTICATOR, &jwt, "").await, "394400", "a PAT it is not");
    world.state.set_account("OTHER");
    let (status, body) = world.send(&jwt, KEY_PAIR, "", "SELECT 1").await.unwrap();
    let message = body["message"].as_str().unwrap();
    assert_eq!((status, &body["code"]), (401, &"390144".into()));
    assert!(message.starts_with("JWT token is invalid. [") && message.ends_with(']'), "{message}");
    world.state.set_account("acct");
    assert_eq!(world.send(&jwt, KEY_PAIR, "", "SELECT 1").await.unwrap().0, 200);
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.send(&jwt, KEY_PAIR, "", "SELECT 1").await.unwrap().0, 401, "expired");
    world.state.disable_user("rotator", true);
    assert_eq!(world.log_in("rotator", "SNOWFLAKE_JWT", &world.jwt(), "").await, "390101");
}

#[tokio::test]
async fn a_lost_answer_was_carried_out_and_is_not_carried_out_again() {
    let world = world();
    world.sql(ADD).await;
    world.state.lose_answers("ROTATE", 1);
    assert!(world.send(&world.jwt(), KEY_PAIR, "requestId=r1", ROTATE).await.is_err());
    assert_eq!(world.state.tokens("svc").len(), 2);
    let (status, body) = world.send(&world.jwt(), KEY_PAIR, "requestId=r1&retry=true", ROTATE).await.unwrap();
    assert_eq!((status, world.state.tokens("svc").len()), (200, 2));
    assert_eq!(world.pat(body["data"][0][1].as_str().unwrap()).await, "");
    // Without `retry` it is another statement.
    world.send(&world.jwt(), KEY_PAIR, "requestId=r1", ROTATE).await.unwrap();
    assert_eq!(world.state.tokens("svc").len(), 3);
}

#[tokio::test]
async fn a_statement_is_refused_as_a_test_says() {
    let world = world();
    let refusal = crate::standin::Saying { code: "000603".into(), text: "incident".into() };
    world.state.refuse_statements("add pat", 1, refusal, "XX000");
    let (status, body) = world.sql(ADD).await;
    assert_eq!(
        (status, &body["code"], &body["message"], &body["sqlState"]),
        (422, &"000603".into(), &"incident".into(), &"XX000".into())
    );
    assert!(world.state.tokens("svc").is_empty());
    assert_eq!(world.sql(ADD).await.0, 200);
}

#[tokio::test]
async fn another_process_makes_users_and_reads_their_tokens() {
    let world = world();
    let control = |path: &str, body: Value| {
        let asked = request(path, "", &[], &body);
        crate::standin::control::answer(&world.state, &asked)
    };
    let ok = json!({ "ok": true });
    let user = json!({ "user": "bi", "type": "PERSON", "max_days": 30, "roles": ["BI"] });
    assert_eq!(control("/standin/users", user), ok);
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", world.key.public_pem_body());
    assert_eq!(control("/standin/key", json!({ "user": "admin", "public_key": pem })), ok);
    assert_eq!(control("/standin/privilege", json!({ "user": "admin", "of": "bi" })), ok);
    assert_eq!(control("/standin/account", json!({ "account": "acct" })), ok);
    let token = control("/standin/token", json!({ "user": "bi", "name": "p", "days": 30 }));
    assert!(token["secret"].is_string(), "{token}");
    let refused = control("/standin/token", json!({ "user": "bi", "name": "q", "days": 31 }));
    assert_eq!(refused["code"], "001008");
    assert_eq!(control("/standin/dead", json!({ "user": "bi" })), ok);
    assert_eq!(control("/standin/statement", json!({ "contains": "show", "lose": true })), ok);
    let jwt = world.key.token("acct", "admin", world.clock.wall(), Duration::from_secs(60)).unwrap();
    let show = "SHOW USER PATS FOR USER bi";
    assert!(world.send(jwt.expose(), KEY_PAIR, "", show).await.is_err());
    let (_, body) = world.send(jwt.expose(), KEY_PAIR, "", "ALTER USER bi ROTATE PAT p").await.unwrap();
    let dead = body["data"][0][1].as_str().unwrap();
    assert_eq!(world.log_in("BI", PAT_AUTHENTICATOR, dead, "").await, "394400");
    let asked = Asked { method: Method::GET, ..request("/standin/pats", "user=bi", &[], &Value::Null) };
    let pats = crate::standin::control::answer(&world.state, &asked);
    assert_eq!((&pats["pats"][0]["rotated_to"], &pats["pats"][1]["state"]), (&"P".into(), &"ACTIVE".into()));
    assert!(!pats.to_string().contains(dead));
}
