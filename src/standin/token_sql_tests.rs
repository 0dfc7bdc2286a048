use super::*;

fn change(sql: &str) -> (Option<String>, bool, Change) {
    match parse(sql).unwrap().unwrap() {
        Statement::Alter { user, if_exists, change } => (user, if_exists, change),
        other => panic!("{other:?}"),
    }
}

#[test]
fn tokens_are_added_in_all_spellings() {
    let wanted = Wanted {
        name: "BI_PAT".into(),
        role: Some("BI".into()),
        days: Some(30),
        comment: Some("it's \"ours\"".into()),
    };
    let added = Change::Add { wanted, if_not_exists: false };
    for sql in [
        concat!(
            "ALTER USER svc ADD PROGRAMMATIC ACCESS TOKEN bi_pat ROLE_RESTRICTION = 'BI' ",
            "DAYS_TO_EXPIRY = 30 COMMENT = 'it''s \"ours\"'",
        ),
        concat!(
            "alter user \"SVC\" add pat \"bi_pat\" comment='it\\'s \"ours\"' ",
            "days_to_expiry=30\nrole_restriction='bi' ;",
        ),
    ] {
        assert_eq!(change(sql), (Some("SVC".into()), false, added.clone()), "{sql}");
    }
    let short = change("ALTER USER ADD PAT IF NOT EXISTS p");
    let wanted = Wanted { name: "P".into(), ..Wanted::default() };
    assert_eq!(short, (None, false, Change::Add { wanted, if_not_exists: true }));
    assert_eq!(change("ALTER USER IF EXISTS add ADD PAT p").0.as_deref(), Some("ADD"), "a user of that name");
}

#[test]
fn the_other_changes_are_read() {
    let of = |sql| change(sql).2;
    let rotated = |hours| Change::Rotate { name: "P".into(), if_exists: false, hours };
    assert_eq!(of("ALTER USER u ROTATE PAT p"), rotated(None));
    assert_eq!(
        of("ALTER USER u ROTATE PROGRAMMATIC ACCESS TOKEN p EXPIRE_ROTATED_TOKEN_AFTER_HOURS = 0"),
        rotated(Some(0))
    );
    assert!(matches!(of("ALTER USER u ROTATE PAT IF EXISTS p"), Change::Rotate { if_exists: true, .. }));
    let set = |disabled, comment: Option<&str>| Change::Set {
        name: "P".into(),
        disabled,
        comment: comment.map(str::to_owned),
    };
    assert_eq!(of("ALTER USER u MODIFY PAT p SET DISABLED = true"), set(Some(true), None));
    assert_eq!(of("ALTER USER u MODIFY PAT p SET COMMENT='c', DISABLED=FALSE"), set(Some(false), Some("c")));
    assert_eq!(of("ALTER USER u MODIFY PAT p RENAME TO q"), Change::Rename { name: "P".into(), to: "Q".into() });
    assert_eq!(of("ALTER USER u REMOVE PAT p;"), Change::Remove { name: "P".into() });
}

#[test]
fn what_is_shown_and_decoded_is_read() {
    let show = |sql| parse(sql).unwrap().unwrap();
    assert_eq!(show("show user pats"), Statement::Show { user: None });
    let of = Statement::Show { user: Some("u".into()) };
    assert_eq!(show("SHOW USER PROGRAMMATIC ACCESS TOKENS FOR USER \"u\""), of);
    assert_eq!(show("select system$decode_pat('x.y')"), Statement::Decode { secret: "x.y".into() });
}

#[test]
fn other_statements_are_left_alone_and_wrong_ones_are_refused() {
    for other in ["select 1", "show users", "alter session set x = 1", "", "select 'ALTER USER u ADD PAT p'"] {
        assert!(parse(other).is_none(), "{other}");
    }
    for wrong in [
        "ALTER USER u",
        "ALTER USER u ADD PAT",
        "ALTER USER u ADD PAT p-q",
        "ALTER USER u ADD PAT 1p",
        "ALTER USER u ADD PAT 'p'",
        "ALTER USER u ADD PAT p DAYS_TO_EXPIRY = '5'",
        "ALTER USER u ADD PAT p DAYS_TO_EXPIRY = -1",
        "ALTER USER u ADD PAT p DAYS_TO_EXPIRY = 1 DAYS_TO_EXPIRY = 2",
        "ALTER USER u ROTATE PAT p EXPIRE_ROTATED_TOKEN_AFTER_HOURS 3",
        "ALTER USER u MODIFY PAT p SET",
        "ALTER USER u MODIFY PAT p SET DISABLED = maybe",
        "ALTER USER u REMOVE PAT p; ALTER USER u REMOVE PAT q",
        "SHOW USER PATS FOR u",
        "SELECT SYSTEM$DECODE_PAT(x)",
    ] {
        assert_eq!(parse(wrong).unwrap().unwrap_err().code, "001003", "{wrong}");
    }
    let text = parse("ALTER USER u ADD PAT 'canary'").unwrap().unwrap_err().message;
    assert!(!text.contains("canary"), "{text}");
}
