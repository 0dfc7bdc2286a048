//! The logout: `POST /session?delete=true` (connector-python, `connection.py`, `delete_session`). Its answer says
//! whether the session has ended.

use serde::Deserialize;

use super::query::decoded;

/// Whether a query string asks for a logout and for nothing else: one `delete`, which is `true`. Of two, a server may
/// take either.
pub fn is_logout(query: &str) -> bool {
    let mut asked = query.split('&').filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        decoded(name).eq_ignore_ascii_case(b"delete").then(|| decoded(value))
    });
    matches!((asked.next().as_deref(), asked.next()), (Some(b"true"), None))
}

/// Whether Snowflake's answer to a logout says that the session has ended: that the logout succeeded, or that there is
/// no such session any more (390111; the universal driver takes this for success too).
pub fn has_ended(answer: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Answer {
        success: Option<bool>,
        code: Option<String>,
    }
    serde_json::from_slice(answer)
        .is_ok_and(|answer: Answer| answer.success == Some(true) || answer.code.as_deref() == Some("390111"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logout_is_one_delete_that_is_true() {
        for query in ["delete=true", "request_guid=x&delete=true&requestId=y", "del%65te=tru%65"] {
            assert!(is_logout(query), "{query}");
        }
        for query in [
            "",
            "delete",
            "delete=false",
            "delete=TRUE",
            "delete=false&delete=true",
            "delete=true&delete=false",
            "delete=true&delete=true",
            "delete=true&del%65te=false",
            "delete=true&Delete=false",
            "deleted=true",
        ] {
            assert!(!is_logout(query), "{query}");
        }
    }

    #[test]
    fn the_answer_says_whether_a_session_has_ended() {
        for (answer, ended) in [
            (r#"{"data":null,"code":null,"message":null,"success":true}"#, true),
            (r#"{"code":"390111","message":"gone","success":false}"#, true),
            (r#"{"code":"390112","success":false}"#, false),
            (r#"{"success":"true"}"#, false),
            ("{}", false),
            ("", false),
            ("<html>", false),
        ] {
            assert_eq!(has_ended(answer.as_bytes()), ended, "{answer}");
        }
    }
}
