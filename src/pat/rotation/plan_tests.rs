use std::time::UNIX_EPOCH;

use super::super::journal::{Open, Removal, Seen, Step};
use super::*;
use crate::base::epoch::EpochMillis;
use crate::base::ids::PatId;

const NOW: Duration = Duration::from_secs(1_790_000_000);

fn days(days: u64) -> Duration {
    DAY * u32::try_from(days).unwrap()
}

fn terms() -> Terms {
    let (lifetime, role) = (None, None);
    Terms { token: "T".into(), every: days(60), overlap: DAY, lifetime, role }
}

fn ago(time: Duration) -> SystemTime {
    UNIX_EPOCH + NOW - time
}

fn shown(name: &str, made: SystemTime, life: Duration) -> ShownToken {
    ShownToken {
        name: name.into(),
        role: Some("R".into()),
        status: TokenStatus::Active,
        created: Some(made),
        expires: Some(made + life),
        rotated_to: None,
    }
}

fn seen(at: SystemTime) -> Entry {
    let seen = Seen { version: PatId::trusted("v1"), at: EpochMillis::of(at), was_there: false };
    Entry { seen: Some(seen), ..Entry::default() }
}

fn plan_of(terms: &Terms, tokens: &[ShownToken], entry: &Entry, asked: Option<Ask>) -> Plan {
    let uses = Uses::default();
    Situation { terms, tokens, entry, uses: &uses, refused: false, now: UNIX_EPOCH + NOW }.plan(asked)
}

fn made(plan: Plan) -> (Why, How, bool) {
    match plan {
        Plan::Make(Making { why, how, remove_old, first }) if first.is_empty() => (why, how, remove_old),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_time_counts_from_the_latest_of_creation_last_rotation_and_first_sight() {
    let plan = |made, entry: &Entry| plan_of(&terms(), &[shown("T", ago(days(made)), days(365))], entry, None);
    assert_eq!(plan(10, &seen(ago(days(10)))), Plan::Wait(ago(days(10)) + days(60)));
    assert_eq!(plan(70, &seen(ago(days(10)))), Plan::Wait(ago(days(10)) + days(60)));
    let last = Entry { last: Some(EpochMillis::of(ago(days(5)))), ..seen(ago(days(60))) };
    assert_eq!(plan(70, &last), Plan::Wait(ago(days(5)) + days(60)));
    assert_eq!(made(plan(61, &seen(ago(days(60))))), (Why::Due, How::Rotate { hours: 24 }, false));
    // What was there at the first look is as old as Snowflake says.
    let mut first = seen(ago(HOUR));
    first.seen.as_mut().unwrap().was_there = true;
    assert_eq!(made(plan(61, &first)), (Why::Due, How::Rotate { hours: 24 }, false));
    // Never twice in a day unasked, also where the token is about to end.
    let just = Entry { last: Some(EpochMillis::of(ago(HOUR))), ..seen(ago(HOUR)) };
    let short = [shown("T", ago(days(1)), days(1) + HOUR)];
    assert_eq!(plan_of(&terms(), &short, &just, None), Plan::Wait(ago(HOUR) + DAY));
    assert_eq!(made(plan_of(&terms(), &short, &just, Some(Ask::Rotate))).0, Why::Asked);
}

#[test]
fn a_token_that_ends_before_its_time_is_rotated_before_its_end() {
    let plan = |made, life| plan_of(&terms(), &[shown("T", ago(days(made)), days(life))], &seen(ago(days(made))), None);
    assert_eq!(plan(10, 15), Plan::Wait(ago(days(10)) + days(14)));
    assert_eq!(made(plan(14, 15)), (Why::Ending, How::Rotate { hours: 23 }, false));
    // Of a life of a day, the second half.
    let hours =
        |made, life| plan_of(&terms(), &[shown("T", ago(HOUR * made), HOUR * life)], &seen(ago(HOUR * made)), None);
    assert_eq!(hours(10, 24), Plan::Wait(ago(HOUR * 10) + HOUR * 12));
    // ROTATE would have to end it before its successor is proven.
    assert!(matches!(made(hours(23, 24)).1, How::Add { rename: Some(_), days: Some(1), hours: 0, .. }));
}

#[test]
fn the_old_one_goes_on_for_the_lesser_of_what_is_wanted_and_left() {
    let how = |overlap, left, asked| {
        let terms = Terms { overlap, ..terms() };
        let token = ShownToken { expires: Some(UNIX_EPOCH + NOW + left), ..shown("T", ago(days(90)), DAY) };
        let (_, how, remove_old) = made(plan_of(&terms, &[token], &seen(ago(days(90))), asked));
        (how, remove_old)
    };
    assert_eq!(how(HOUR * 24, days(30), None), (How::Rotate { hours: 24 }, false));
    assert_eq!(how(HOUR * 24, HOUR * 5 + SKEW, None), (How::Rotate { hours: 5 }, false));
    assert_eq!(how(HOUR * 24, HOUR * 5, None), (How::Rotate { hours: 4 }, false), "clocks differ");
    assert_eq!(how(Duration::ZERO, days(30), None), (How::Rotate { hours: 1 }, true), "it ends when it is replaced");
    assert_eq!(how(HOUR * 24, days(30), Some(Ask::Replace)), (How::Rotate { hours: 1 }, true));
    assert_eq!(how(HOUR * 24, Duration::ZERO, None), (How::Rotate { hours: 0 }, false), "it has ended");
}

#[test]
fn another_lifetime_or_role_needs_a_new_token() {
    let how = |lifetime, role: Option<&str>| {
        let terms = Terms { lifetime, role: role.map(str::to_owned), ..terms() };
        made(plan_of(&terms, &[shown("T", ago(days(70)), days(90))], &seen(ago(days(70))), None)).1
    };
    assert_eq!(how(Some(days(90)), Some("r")), How::Rotate { hours: 24 });
    let rename = Some(format!("T_ROTATED_{}", NOW.as_millis()));
    let add =
        |role: &str, days| How::Add { rename: rename.clone(), role: Some(role.into()), days: Some(days), hours: 24 };
    assert_eq!(how(Some(days(180)), None), add("R", 180));
    assert_eq!(how(None, Some("OTHER")), add("OTHER", 90));
}

#[test]
fn what_cannot_be_done_is_said() {
    let said = |plan| match plan {
        Plan::Cannot(failure) => failure.cause,
        other => panic!("{other:?}"),
    };
    assert!(said(plan_of(&terms(), &[], &seen(ago(DAY)), None)).contains("lists no token T"));
    let last = Entry { last: Some(EpochMillis::of(ago(days(5)))), ..seen(ago(days(5))) };
    assert!(said(plan_of(&terms(), &[], &last, None)).contains("lists no token T"), "nor one that was removed");
    let none = How::Add { rename: None, role: None, days: None, hours: 0 };
    assert_eq!(made(plan_of(&terms(), &[], &seen(ago(DAY)), Some(Ask::Rotate))).1, none);
    let disabled = ShownToken { status: TokenStatus::Disabled, ..shown("T", ago(days(70)), days(90)) };
    assert!(said(plan_of(&terms(), &[disabled], &seen(ago(days(70))), None)).contains("is disabled"));
    let mut tokens: Vec<_> = (0..14).map(|n| shown(&format!("X{n}"), ago(days(70)), days(90))).collect();
    tokens.push(shown("T", ago(days(70)), days(90)));
    assert!(said(plan_of(&terms(), &tokens, &seen(ago(days(70))), None)).contains("15 living tokens"));
    tokens[0].status = TokenStatus::Expired;
    assert_eq!(made(plan_of(&terms(), &tokens, &seen(ago(days(70))), None)).0, Why::Due, "one that ended counts not");
    // With room made by removing the oldest that nobody uses.
    for (n, token) in tokens.iter_mut().take(14).enumerate() {
        *token = shown(&format!("T_ROTATED_{n}"), ago(days(70)), days(90));
    }
    let Plan::Make(making) = plan_of(&terms(), &tokens, &seen(ago(days(70))), None) else { panic!() };
    assert_eq!(making.first, ["T_ROTATED_0"]);
}

#[test]
fn a_store_that_is_behind_a_rotation_of_somebody_else_s_is_mended_after_a_while() {
    let plan = |made| plan_of(&terms(), &[shown("T", ago(made), days(90))], &seen(ago(days(3))), None);
    assert_eq!(plan(Duration::from_secs(300)), Plan::Wait(ago(Duration::from_secs(300)) + GRACE));
    assert_eq!(made(plan(GRACE)), (Why::Behind, How::Rotate { hours: 24 }, false));
    assert_eq!(plan(days(3) - SKEW / 2), Plan::Wait(ago(days(3) - SKEW / 2) + days(60)), "clocks differ");
}

#[test]
fn a_version_that_snowflake_refuses_while_the_token_lives_is_replaced_after_a_while() {
    let plan = |made, status| {
        let (terms, entry, uses) = (terms(), seen(ago(days(1))), Uses::default());
        let tokens = [ShownToken { status, ..shown("T", ago(made), days(90)) }];
        let now = UNIX_EPOCH + NOW;
        Situation { terms: &terms, tokens: &tokens, entry: &entry, uses: &uses, refused: true, now }.plan(None)
    };
    assert_eq!(made(plan(days(5), TokenStatus::Active)).0, Why::Behind);
    assert_eq!(plan(GRACE / 2, TokenStatus::Active), Plan::Wait(ago(GRACE / 2) + GRACE));
    assert!(matches!(plan(days(5), TokenStatus::Disabled), Plan::Cannot(_)));
}

/// What a rotation of the plan leaves in the journal.
fn journaled(entry: &mut Entry, making: &Making, new: &PatId, old_name: Option<String>, now: SystemTime) {
    let now = EpochMillis::of(now);
    let old = entry.seen.as_ref().map_or_else(|| PatId::trusted("none"), |seen| seen.version.clone());
    let open = Open {
        why: making.why,
        begun: now,
        step: Step::Using,
        how: making.how.clone(),
        remove_old: making.remove_old,
        old,
        had_token: true,
        before: Vec::new(),
        old_name: old_name.clone(),
        lost: Vec::new(),
        new: Some(new.clone()),
    };
    entry.done(&open, new, now, now);
    if let (How::Add { hours, .. }, Some(name)) = (&making.how, old_name) {
        entry.removals.push(Removal { name, at: EpochMillis(now.0 + hours * 3_600_000) });
    }
}

#[cfg(feature = "demo")]
#[path = "year_tests.rs"]
mod year;
