use super::*;
use crate::standin::users::UserSettings;

const NOW: EpochMillis = EpochMillis(1_790_000_000_000);

fn hours(count: u64) -> EpochMillis {
    EpochMillis(NOW.0 + count * HOUR_MILLIS)
}

fn user() -> User {
    User::default()
}

/// Adds a token with the secret `secret-NAME`.
fn add(user: &mut User, name: &str, days: Option<u64>, now: EpochMillis) -> Result<String, String> {
    let wanted = Wanted { name: name.into(), role: Some("BI".into()), days, comment: None };
    let made = user.add(wanted, "ADMIN", now, |_| Secret::new(format!("secret-{name}")));
    made.map(|token| token.secret.expose().to_owned()).map_err(|refused| refused.code)
}

/// Rotates a token to the secret `secret`; gives the old one's new name.
fn rotate(user: &mut User, hours: Option<u64>, now: EpochMillis, secret: &str) -> Result<String, String> {
    let made = user.rotate("P", hours, "ROTATOR", now, |_| Secret::new(secret.to_owned()));
    made.map(|(_, old)| old).map_err(|refused| refused.code)
}

fn login(user: &User, secret: &str, now: EpochMillis) -> Result<Option<String>, LoginRefused> {
    user.admit(&Secret::new(secret.to_owned()), "", now)
}

const GOOD: Result<Option<&str>, &LoginRefused> = Ok(Some("BI"));

macro_rules! says {
    ($user:expr, $secret:expr, $now:expr) => {
        login(&$user, $secret, $now).as_ref().map(Option::as_deref)
    };
}

#[test]
fn a_token_lives_as_long_as_it_was_made_for() {
    let mut user = user();
    add(&mut user, "P", None, NOW).unwrap();
    assert_eq!(says!(user, "secret-P", hours(15 * 24 - 1)), GOOD, "15 days by default");
    assert_eq!(says!(user, "secret-P", hours(15 * 24)), Err(&LoginRefused::Expired));
    assert_eq!(says!(user, "secret-Q", NOW), Err(&LoginRefused::Pat));
    for days in [0, 366] {
        assert_eq!(add(&mut user, "Q", Some(days), NOW), Err("001008".into()));
    }
    add(&mut user, "Q", Some(365), NOW).unwrap();
    user.settings.max_days = 90;
    assert_eq!(says!(user, "secret-Q", NOW), Err(&LoginRefused::Pat), "a lower maximum ends it at once");
    assert_eq!(says!(user, "secret-P", NOW), GOOD);
    assert_eq!(add(&mut user, "R", Some(91), NOW), Err("001008".into()));
}

#[test]
fn expired_tokens_are_shown_for_seven_days() {
    let mut user = user();
    add(&mut user, "P", Some(1), NOW).unwrap();
    let listed = |at| user.listed(at).map(|token| token.status(at)).collect::<Vec<_>>();
    assert_eq!(listed(hours(23)), [TokenStatus::Active]);
    assert_eq!(listed(hours(8 * 24 - 1)), [TokenStatus::Expired]);
    assert_eq!(listed(hours(8 * 24)), []);
}

#[test]
fn fifteen_tokens_live_at_once() {
    let mut user = user();
    add(&mut user, "P", Some(1), NOW).unwrap();
    for n in 1..MOST {
        add(&mut user, &format!("P{n}"), Some(2), NOW).unwrap();
    }
    user.set("P1", Some(true), None, NOW).unwrap();
    assert_eq!(add(&mut user, "MORE", None, NOW), Err("099203".into()), "a disabled one counts");
    assert_eq!(rotate(&mut user, None, NOW, "new"), Err("099203".into()), "a rotated one would count");
    rotate(&mut user, Some(0), NOW, "new").unwrap();
    assert_eq!(add(&mut user, "MORE", None, hours(1)), Err("099203".into()));
    add(&mut user, "MORE", None, hours(24)).unwrap();
    user.remove("P2", NOW).unwrap();
    assert_eq!(user.remove("P2", NOW).unwrap_err().code, "002003");
}

#[test]
fn a_rotation_leaves_the_old_token_some_hours() {
    let mut user = user();
    add(&mut user, "P", Some(2), NOW).unwrap();
    assert_eq!(rotate(&mut user, Some(49), NOW, "new"), Err("001008".into()), "more than it has left");
    let later = EpochMillis(hours(1).0 + 1);
    assert_eq!(rotate(&mut user, Some(47), later, "new"), Err("001008".into()), "whole hours");
    let old = rotate(&mut user, Some(46), later, "new").unwrap();
    assert_eq!(old, format!("P_ROTATED_{}", later.0));
    assert_eq!(says!(user, "secret-P", hours(46)), GOOD);
    assert_eq!(says!(user, "secret-P", EpochMillis(hours(47).0 + 1)), Err(&LoginRefused::Expired));
    let new = user.by_secret(&Secret::new("new".into())).unwrap();
    assert_eq!((new.name.as_str(), new.role.as_deref(), new.created_by.as_str()), ("P", Some("BI"), "ROTATOR"));
    assert_eq!(new.expires_at.0, later.0 + 2 * DAY_MILLIS, "the lifetime of the definition");
    let old = user.by_secret(&Secret::new("secret-P".into())).unwrap();
    assert_eq!(old.rotated_to.as_deref(), Some("P"));
    user.rename("P", "Q", later).unwrap();
    assert_eq!(user.tokens[0].rotated_to.as_deref(), Some("Q"));
}

#[test]
fn a_rotated_token_gets_24_hours_or_what_is_left() {
    let mut user = user();
    add(&mut user, "P", Some(2), NOW).unwrap();
    rotate(&mut user, None, NOW, "second").unwrap();
    assert_eq!(user.tokens[0].expires_at, hours(24));
    let late = EpochMillis(hours(48).0 - 1);
    rotate(&mut user, None, late, "third").unwrap();
    assert_eq!(user.tokens[1].expires_at, hours(48));
    assert_eq!(rotate(&mut user, Some(0), late, "fourth").unwrap(), format!("P_ROTATED_{}", late.0 + 1), "a free name");
    assert_eq!(says!(user, "third", late), Err(&LoginRefused::Expired), "at once");
    assert_eq!(says!(user, "fourth", late), GOOD);
}

#[test]
fn a_rotation_may_give_a_token_that_is_good_for_nothing() {
    let mut user = user();
    add(&mut user, "P", None, NOW).unwrap();
    user.settings.network_policy = false;
    rotate(&mut user, None, NOW, "no-policy").unwrap();
    assert_eq!(says!(user, "no-policy", NOW), Err(&LoginRefused::PolicyMissing));
    user.settings.network_policy = true;
    user.settings.roles = Some(vec!["OTHER".into()]);
    rotate(&mut user, None, NOW, "no-role").unwrap();
    assert_eq!(says!(user, "no-role", NOW), Err(&LoginRefused::Pat));
    user.settings.roles = None;
    let refusal = Saying { code: "390422".into(), text: "no".into() };
    user.next_is_dead = Some(refusal.clone());
    rotate(&mut user, None, NOW, "dead").unwrap();
    assert_eq!(says!(user, "dead", NOW), Err(&LoginRefused::Told(refusal)));
    rotate(&mut user, None, NOW, "alive").unwrap();
    assert_eq!(says!(user, "alive", NOW), GOOD, "one token alone");
    assert_eq!(says!(user, "secret-P", NOW), GOOD, "the old one lives on");
}

#[test]
fn policies_and_roles_are_asked_for_by_type() {
    let made = |settings: UserSettings, role: Option<&str>| {
        let mut user = User { settings, ..User::default() };
        let wanted = Wanted { name: "P".into(), role: role.map(str::to_owned), ..Wanted::default() };
        let made = user.add(wanted, "A", NOW, |_| Secret::new("s".into())).map(|_| ()).map_err(|refused| refused.code);
        (made, user)
    };
    let of = |kind, network_policy| UserSettings { kind, network_policy, ..UserSettings::default() };
    assert!(made(of(UserKind::Service, false), Some("R")).0.is_err(), "a policy to make one");
    assert!(made(of(UserKind::Service, true), None).0.is_err(), "a role restriction");
    let lenient = UserSettings { needs_role: false, ..of(UserKind::Service, true) };
    let (ok, mut user) = made(lenient, None);
    assert!(ok.is_ok() && login(&user, "s", NOW) == Ok(None));
    user.settings.needs_role = true;
    assert_eq!(login(&user, "s", NOW), Err(LoginRefused::Pat), "required anew");
    let (ok, user) = made(of(UserKind::ServiceAgent, false), None);
    assert!(ok.is_ok() && login(&user, "s", NOW) == Ok(None));
    let (ok, user) = made(of(UserKind::Person, false), None);
    assert!(ok.is_ok() && login(&user, "s", NOW) == Err(LoginRefused::PolicyMissing));
    let narrow = UserSettings { roles: Some(vec!["BI".into()]), ..UserSettings::default() };
    assert_eq!(made(narrow.clone(), Some("ADMIN")).0, Err("002003".into()));
    let (_, user) = made(narrow, Some("BI"));
    let other = user.admit(&Secret::new("s".into()), "admin", NOW);
    assert_eq!(other, Err(LoginRefused::Role("admin".into())));
    assert_eq!(user.admit(&Secret::new("s".into()), "bi", NOW), Ok(Some("BI".into())));
}

#[test]
fn names_are_unique_among_the_living() {
    let mut user = user();
    add(&mut user, "P", Some(1), NOW).unwrap();
    add(&mut user, "Q", Some(2), NOW).unwrap();
    assert_eq!(add(&mut user, "P", None, NOW), Err("002002".into()));
    assert_eq!(user.rename("Q", "P", NOW).unwrap_err().code, "002002");
    let later = hours(24);
    add(&mut user, "P", Some(3), later).unwrap();
    user.set("P", Some(true), Some("found in a repository".into()), later).unwrap();
    assert_eq!(user.tokens[2].comment.as_deref(), Some("found in a repository"), "the living one is meant");
    assert_eq!(user.admit(&user.tokens[2].secret.clone(), "", later), Err(LoginRefused::Expired), "same secret here");
    user.set("P", Some(false), None, later).unwrap();
    assert!(user.tokens[2].comment.is_some() && !user.tokens[2].disabled);
}
