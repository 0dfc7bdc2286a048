//! Arbitrary logins, renewals, statements and answers: the gate can write again what it reads, and no client key
//! remains in the output.

#![no_main]

use libfuzzer_sys::fuzz_target;
use patgate::internal::base::pins::{Pin, Pins};
use patgate::internal::base::secret::Secret;
use patgate::internal::snowflake::answer::{LoginAnswer, RenewalAnswer};
use patgate::internal::base::trace::TraceId;
use patgate::internal::snowflake::login::{Injection, Login, Mark};
use patgate::internal::snowflake::login_secret::Presented;
use patgate::internal::snowflake::renewal::Renewal;
use patgate::internal::snowflake::{query, rest};

fuzz_target!(|body: &[u8]| {
    let pat = Secret::new("the-pat".into());
    if let Ok(mut login) = Login::parse(body) {
        let mark = Mark { client: "c", trace: TraceId::from_bytes([7; 16]), query_tag: true };
        let presented = Presented::pat(pat.clone());
        let with = Injection { account: "a", user: "U", presented: &presented, mark };
        let written = login.write(&with);
        let mut again = Login::parse(written.as_bytes()).expect("what was written is a login");
        assert_eq!(again.presented.as_ref().unwrap().expose(), "the-pat");
        assert_eq!(again.write(&with), written, "writing once is writing twice");
    }
    if let Some(mut renewal) = Renewal::parse(body) {
        let written = renewal.write(&pat);
        assert_eq!(Renewal::parse(written.as_bytes()).unwrap().old().unwrap().expose(), "the-pat");
    }
    for granted in [
        LoginAnswer::read(body).and_then(|answer| match answer {
            LoginAnswer::Success(granted) => Some(granted),
            _ => None,
        }),
        RenewalAnswer::read(body).and_then(|answer| match answer {
            RenewalAnswer::Success(granted) => Some(granted),
            RenewalAnswer::Refused(_) => None,
        }),
    ]
    .into_iter()
    .flatten()
    {
        let mut granted = granted;
        granted.put("sealed", Some("sealed-too"));
        assert!(granted.written().unwrap().contains("\"sealed\""));
    }
    let pins = Pins { role: Pin::Fixed("R".into()), ..Pins::default() };
    if let Some(Ok(written)) = rest::pinned(&pins, body) {
        assert!(written.contains("\"role\":\"R\""));
    }
    if let Ok(text) = std::str::from_utf8(body) {
        let pinned = query::pinned(&pins, text).expect("a fixed role refuses nothing");
        assert!(pinned.contains("roleName=R"));
    }
});
