use serde_json::Value;

use super::*;

#[test]
fn no_name_can_end_its_quotes() {
    let hostile = r#"a"."b"; DROP USER x; --"#;
    let quoted = r#""A"".""B""; DROP USER X; --""#;
    for statement in [
        TokenStatement::Show,
        TokenStatement::Add { token: hostile, role: Some(r"o'neil\"), days: Some(90) },
        TokenStatement::Rotate { token: hostile, hours: 24 },
        TokenStatement::Rename { token: hostile, to: hostile },
        TokenStatement::SetDisabled { token: hostile, disabled: true },
        TokenStatement::Remove { token: hostile },
    ] {
        let sql = statement.sql(hostile);
        let left = sql.replace(quoted, "NAME").replace(r"'o''neil\\'", "TEXT");
        assert!(left.contains("NAME") && !left.contains(['"', '\'', ';']), "{sql}");
    }
    assert_eq!(
        TokenStatement::Add { token: "bi", role: None, days: None }.sql("svc.bi"),
        r#"ALTER USER "SVC.BI" ADD PROGRAMMATIC ACCESS TOKEN "BI""#
    );
}

fn rows(columns: &[&str], data: &Value) -> Result<Rows, RowsError> {
    let columns: Vec<_> = columns.iter().map(|name| json!({ "name": name, "type": "text" })).collect();
    Rows::read(json!({ "resultSetMetaData": { "rowType": columns }, "data": data }).to_string().as_bytes())
}

#[test]
fn tokens_are_read_by_the_names_of_their_columns() {
    let columns = ["STATUS", "created_on", "name", "expires_at", "user_name", "new_column", "rotated_to"];
    let data = json!([
        ["ACTIVE", "1790000000.123000000", "T", "1797776000.000000000 960", "SVC", "x", null],
        ["PAUSED", "2026-11-25T02:51:00Z", "T_ROTATED_1", "never", "SVC", null, "T"],
    ]);
    let tokens = rows(&columns, &data).unwrap_or_else(|why| panic!("{why}")).tokens("svc").unwrap();
    let at = |seconds| Some(UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!((tokens[0].name.as_str(), &tokens[0].status, &tokens[0].role), ("T", &TokenStatus::Active, &None));
    assert_eq!((tokens[0].created, tokens[0].expires), (at(1_790_000_000), at(1_797_776_000)));
    assert_eq!((tokens[1].created, tokens[1].expires), (rfc3339::parse("2026-11-25T02:51:00Z"), None));
    let other = TokenStatus::Other("PAUSED".into());
    assert_eq!((&tokens[1].status, tokens[1].rotated_to.as_deref()), (&other, Some("T")));
}

#[test]
fn tokens_of_another_user_are_not_taken_for_the_user_s() {
    let data = json!([["T", "ACTIVE", "ROTATOR"]]);
    let refused = rows(&["name", "status", "user_name"], &data).ok().unwrap().tokens("svc").unwrap_err();
    assert_eq!(refused, RowsError::OtherUser("ROTATOR".into()));
    let without = rows(&["name", "status"], &json!([["T", "ACTIVE"]])).ok().unwrap().tokens("svc").unwrap_err();
    assert_eq!(without, RowsError::Column("user_name"));
}

#[test]
fn a_new_secret_is_read_whole_or_not_at_all() {
    let made = rows(&["token_name", "token_secret", "rotated_token_name"], &json!([["T", "canary", "T_ROTATED_1"]]));
    let made = made.ok().unwrap().made().ok().unwrap();
    assert_eq!((made.name.as_str(), made.secret.expose()), ("T", "canary"));
    assert_eq!(made.rotated.as_deref(), Some("T_ROTATED_1"));
    let none = rows(&["status"], &json!([["already exists"]])).ok().unwrap().made().err().unwrap();
    assert_eq!(none, RowsError::Column("token_name"));
    assert!(rows(&["a", "b"], &json!([["canary"]])).is_err() && Rows::read(b"{}").is_err());
    let parts = json!({ "resultSetMetaData": { "rowType": [], "partitionInfo": [{}, {}] }, "data": [] });
    assert_eq!(Rows::read(parts.to_string().as_bytes()).err(), Some(RowsError::Form));
}
