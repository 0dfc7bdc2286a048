//! What joins the gate's records with the tool's and with Snowflake's.

use serde_json::Value;

use crate::settings::Settings;
use crate::world::{World, login_body, login_request};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// The body of the last login that Snowflake got.
fn last(world: &World) -> Value {
    serde_json::from_str(&world.standin.state.seen().pop().unwrap().body).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_s_trace_goes_on_to_snowflake_with_the_gate_s_own_span() {
    let world = World::start().await;
    let mut request = login_request(login_body(world.key.expose()));
    let given = format!("00-{TRACE}-00f067aa0ba902b7-01");
    request.headers_mut().insert("traceparent", given.parse().unwrap());
    let got = world.send(request).await;
    assert_eq!((&got.json()["success"], got.headers["x-patgate-trace"].to_str().unwrap()), (&true.into(), TRACE));
    let headers = world.standin.state.seen().pop().unwrap().headers;
    let lines: Vec<_> = headers.lines().filter_map(|line| line.strip_prefix("traceparent: ")).collect();
    let parts: Vec<_> = lines[0].split('-').collect();
    assert_eq!((lines.len(), parts[0], parts[1], parts[3]), (1, "00", TRACE, "01"), "{headers}");
    assert!(parts[2].len() == 16 && parts[2] != "00f067aa0ba902b7", "the parent there is the gate's span: {headers}");

    // Without one of the driver's, the trace is the gate's own.
    let got = world.login(world.key.expose()).await;
    let own = got.headers["x-patgate-trace"].to_str().unwrap().to_owned();
    let headers = world.standin.state.seen().pop().unwrap().headers;
    assert!(own != TRACE && headers.contains(&format!("traceparent: 00-{own}-")), "{headers}");
    world.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snowflake_s_views_get_the_client_and_the_trace_and_a_query_tag_where_it_is_wanted() {
    for wanted in [false, true] {
        let world = World::with(|config| config.bi().query_tag = wanted).await;
        let got = world.login(world.key.expose()).await;
        let trace = got.headers["x-patgate-trace"].to_str().unwrap().to_owned();
        let body = last(&world);
        let environment = &body["data"]["CLIENT_ENVIRONMENT"];
        let told = (&environment["patgate_client"], &environment["patgate_trace"]);
        assert_eq!(told, (&"bi".into(), &trace.as_str().into()), "{body}");
        let tag = &body["data"]["SESSION_PARAMETERS"]["QUERY_TAG"];
        match wanted {
            false => assert!(tag.is_null(), "{body}"),
            true => assert!(tag.as_str().unwrap().contains(&trace) && tag.as_str().unwrap().contains("bi"), "{tag}"),
        }
        world.finish().await;
    }

    // One of the tool's own stays.
    let world = World::with(|config| config.bi().query_tag = true).await;
    let mut body: Value = serde_json::from_str(&login_body(world.key.expose())).unwrap();
    body["data"]["SESSION_PARAMETERS"]["QUERY_TAG"] = "mine".into();
    world.login_with(body.to_string()).await;
    assert_eq!(last(&world)["data"]["SESSION_PARAMETERS"]["QUERY_TAG"], "mine");
    world.finish().await;
}
