//! Snowflake's driver protocol: routes, the login body, answers. It is pure: no sockets, no clock.
//!
//! Snowflake does not publish this protocol. The facts here are from the sources of its drivers, and each file names
//! its sources. The tags are:
//!
//! | tag | source |
//! |---|---|
//! | `go` | snowflakedb/gosnowflake 2.1.0, which the ADBC driver wraps |
//! | `py` | snowflakedb/snowflake-connector-python 4.8 and 5.2 |
//! | `jdbc` | snowflakedb/snowflake-jdbc 4.4 |
//! | `node` | snowflakedb/snowflake-connector-nodejs 3.3 |
//! | `net` | snowflakedb/snowflake-connector-net |
//! | `c` | snowflakedb/libsnowflakeclient, the core of ODBC 2 and 3 |
//! | `ud` | snowflakedb/drivers, the core of ODBC 4 and of the newest JDBC, Python and Node |
//! | `docs` | pages of docs.snowflake.com, by their title |
//!
//! # The paths
//! All drivers use the same ones (`go:restful.go`, `ud:sf_core/src/rest/snowflake/mod.rs`, `node:lib/services/sf.js`,
//! `c:snowflake_client_int.h`), and put a token into `Authorization: Snowflake Token="…"`:
//!
//! | path | token in the header | tokens in bodies |
//! |---|---|---|
//! | `POST /session/v1/login-request` | none | the login's credential; session and master token in the answer |
//! | `POST /session/token-request` | master | `oldSessionToken`; both tokens in the answer |
//! | `POST /queries/v1/query-request`, `GET /queries/{id}/result` | session | none |
//! | `POST /queries/v1/abort-request`, `POST /queries/{id}/abort-request` | session | none |
//! | `GET /monitoring/queries/{id}`, `POST /session/heartbeat`, `POST /telemetry/send` | session | none |
//! | `POST /session?delete=true` | session | none |
//! | `/api/v2/…` | `Bearer` | none |
//!
//! # What a driver shows
//! Drivers show the gate's text only in HTTP 200 with `success:false` and a code of digits. They hide the body of any
//! other status (`go:auth.go`, `py:network.py`, `jdbc:RestRequest.java`, `ud:sf_core/src/http/retry.rs`) and retry at
//! 408, 429 and 5xx; some also at 400, 403 and 405 (`py:network.py`, `net:Core/HttpUtil.cs`,
//! `c:tests/unit_test_retry_context.c`). At 401 one of them renews its session (`ud:sf_core/src/refresh.rs`). Codes
//! 390112 and 390114 start renewals, and 390195, 390303 and 390318 a new login with another authenticator
//! (`py:network.py`, `node:lib/services/sf.js`): the gate never refuses with one of these if a driver would act on it.

pub mod allowlist;
pub mod answer;
pub mod body;
pub mod granted;
pub mod key_pair;
mod key_pem;
pub mod login;
pub mod login_secret;
pub mod logout;
pub mod members;
pub mod query;
pub mod query_id;
pub mod refusal;
pub mod renewal;
pub mod rest;
pub mod route;
pub mod sql_text;
pub mod statement;
pub mod token_header;
pub mod token_statement;

/// `PROGRAMMATIC_ACCESS_TOKEN`, the authenticator of a login with a PAT in the member `TOKEN` (`py:auth/pat.py`,
/// `go:auth.go`).
pub const PAT_AUTHENTICATOR: &str = "PROGRAMMATIC_ACCESS_TOKEN";
