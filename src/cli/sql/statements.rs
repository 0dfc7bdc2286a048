//! [`Setup`]: what has to stand in Snowflake for a credential, as statements; and the queries that show whether it
//! does.
//!
//! Facts: `docs` "Using programmatic access tokens for authentication" (a service user needs a network policy and a
//! role restriction; `PAT_POLICY` with its `BLOCKED_ROLES_LIST`; the privilege of a rotator), "CREATE NETWORK RULE",
//! "CREATE AUTHENTICATION POLICY", "Key-pair authentication". Snowflake has neither
//! `SYSTEM$GENERATE_PROGRAMMATIC_ACCESS_TOKEN` nor `SET PROGRAMMATIC_ACCESS_TOKEN`, which some pages show.

use std::fmt::Write as _;

use ipnet::IpNet;

use crate::snowflake::token_statement::{identifier, text};

/// The schema that holds the rule and the policies.
const SCHEMA: &str = "PATGATE.ACCESS";
/// Lists the addresses of the gates.
const RULE: &str = "PATGATE.ACCESS.GATE_EGRESS";
/// Lets those in, and nobody else.
const NETWORK_POLICY: &str = "PATGATE_EGRESS";
/// Roles that no token may have.
const BLOCKED: &str = "'ACCOUNTADMIN', 'SECURITYADMIN', 'SYSADMIN', 'USERADMIN', 'ORGADMIN'";

/// What has to stand in Snowflake for a credential.
pub(super) struct Setup<'a> {
    /// The service user.
    pub user: &'a str,
    /// Its role.
    pub role: &'a str,
    /// What the role may use.
    pub uses: Uses<'a>,
    /// The addresses that Snowflake sees the gates at; empty: not known yet.
    pub egress: &'a [IpNet],
    /// What the user logs in with.
    pub login: Login<'a>,
    /// Who rotates its tokens.
    pub rotator: Option<RotatorUser<'a>>,
}

/// What the configuration names for the sessions.
#[derive(Default)]
pub(super) struct Uses<'a> {
    pub warehouse: Option<&'a str>,
    pub database: Option<&'a str>,
    pub schema: Option<&'a str>,
}

/// What the service user logs in with.
pub(super) enum Login<'a> {
    /// A token with this name and lifetime in days.
    Pat { token: &'a str, days: u64 },
    /// A key pair with this public key; `None` if it could not be read.
    KeyPair(Option<&'a str>),
}

/// What a rotator logs in with.
pub(super) enum RotatorLogin<'a> {
    /// A token of its own, of so many days.
    Pat(u64),
    /// A key pair with this public key; `None` if it could not be read.
    KeyPair(Option<&'a str>),
}

/// A user who rotates the tokens of others.
pub(super) struct RotatorUser<'a> {
    pub user: &'a str,
    pub login: RotatorLogin<'a>,
}

impl Setup<'_> {
    /// The statements. All but the last may be run again: what is there stays.
    pub(super) fn statements(&self) -> String {
        let mut out = String::new();
        let (user, role) = (identifier(self.user), identifier(self.role));
        part(
            &mut out,
            "Run these as ACCOUNTADMIN, from top to bottom. All but the last can be run again: what is there stays.",
            "USE ROLE ACCOUNTADMIN;",
        );
        part(
            &mut out,
            "A place for the network rule and the policies, and nothing else.",
            &format!("CREATE DATABASE IF NOT EXISTS PATGATE;\nCREATE SCHEMA IF NOT EXISTS {SCHEMA};"),
        );
        part(
            &mut out,
            "The service user and its role. TYPE = SERVICE has no password; SERVICE_AGENT would need no network \
             policy.",
            &format!(
                "CREATE ROLE IF NOT EXISTS {role};\n\
                 CREATE USER IF NOT EXISTS {user} TYPE = SERVICE DEFAULT_ROLE = {} COMMENT = 'logs in through \
                 patgate';\n\
                 GRANT ROLE {role} TO USER {user};",
                text(&self.role.to_uppercase())
            ),
        );
        part(&mut out, "What the role may read. Without a warehouse no query runs.", &self.grants(&role));
        part(
            &mut out,
            "Only the gate's own address may use what belongs to this user: a token that leaks is of no use elsewhere.",
            &self.network(&[&user]),
        );
        part(&mut out, "How the user may log in, and what its tokens may be.", &self.authentication(&user));
        if let Some(rotator) = &self.rotator {
            part(
                &mut out,
                "The rotator: another user, who may change this user's tokens, and nothing else.",
                &rotator_statements(rotator, &user),
            );
        }
        match self.login {
            Login::Pat { token, days } => part(
                &mut out,
                "The first token, after all that it depends on. Its secret is shown here once, in token_secret: put \
                 it into the store.",
                &format!(
                    "ALTER USER {user} ADD PROGRAMMATIC ACCESS TOKEN {}\n  ROLE_RESTRICTION = {} DAYS_TO_EXPIRY = \
                     {days};",
                    identifier(token),
                    text(&self.role.to_uppercase())
                ),
            ),
            Login::KeyPair(key) => part(
                &mut out,
                "The public half of the key pair in the store.",
                &format!("ALTER USER {user} SET RSA_PUBLIC_KEY = {};", public_key(key)),
            ),
        }
        out
    }

    fn grants(&self, role: &str) -> String {
        let Uses { warehouse, database, schema } = &self.uses;
        let mut out = String::new();
        // Writing to memory does not fail.
        let _written = match warehouse {
            Some(warehouse) => writeln!(out, "GRANT USAGE ON WAREHOUSE {} TO ROLE {role};", identifier(warehouse)),
            None => writeln!(out, "-- GRANT USAGE ON WAREHOUSE <WAREHOUSE> TO ROLE {role};"),
        };
        let _written = match (database, schema) {
            (Some(database), Some(schema)) => {
                let (database, schema) = (identifier(database), identifier(schema));
                write!(
                    out,
                    "GRANT USAGE ON DATABASE {database} TO ROLE {role};\n\
                     GRANT USAGE ON SCHEMA {database}.{schema} TO ROLE {role};\n\
                     GRANT SELECT ON ALL TABLES IN SCHEMA {database}.{schema} TO ROLE {role};\n\
                     GRANT SELECT ON FUTURE TABLES IN SCHEMA {database}.{schema} TO ROLE {role};\n\
                     GRANT SELECT ON ALL VIEWS IN SCHEMA {database}.{schema} TO ROLE {role};\n\
                     GRANT SELECT ON FUTURE VIEWS IN SCHEMA {database}.{schema} TO ROLE {role};"
                )
            }
            _ => write!(
                out,
                "-- GRANT USAGE ON DATABASE <DATABASE> TO ROLE {role};\n\
                 -- GRANT USAGE ON SCHEMA <DATABASE>.<SCHEMA> TO ROLE {role};\n\
                 -- GRANT SELECT ON ALL TABLES IN SCHEMA <DATABASE>.<SCHEMA> TO ROLE {role};\n\
                 -- GRANT SELECT ON FUTURE TABLES IN SCHEMA <DATABASE>.<SCHEMA> TO ROLE {role};"
            ),
        };
        out
    }

    fn network(&self, users: &[&str]) -> String {
        let addresses = match self.egress {
            [] => "'<THE GATE''S ADDRESS>/32'".to_owned(),
            known => known.iter().map(|net| text(&net.to_string())).collect::<Vec<_>>().join(", "),
        };
        let unknown = match self.egress {
            [] => {
                "-- The address that Snowflake sees: `patgate doctor` shows it once a login works, and your network \
                 team knows\n\
                 -- it before. Name that of each gate with --egress.\n"
            }
            _ => "",
        };
        let mut out = format!(
            "{unknown}CREATE NETWORK RULE IF NOT EXISTS {RULE} TYPE = IPV4 MODE = INGRESS VALUE_LIST = ({addresses});\n\
             -- If the rule was there already: name the addresses of all gates, since this replaces them.\n\
             -- ALTER NETWORK RULE {RULE} SET VALUE_LIST = ({addresses});\n\
             CREATE NETWORK POLICY IF NOT EXISTS {NETWORK_POLICY} ALLOWED_NETWORK_RULE_LIST = ({});",
            text(RULE)
        );
        out.push_str(
            "\n-- From here on, and with the authentication policy below, tools of a user that has been there before \
             come in through\n-- the gate alone: `patgate adopt` finds those that still go past it.",
        );
        for user in users {
            let _written = write!(out, "\nALTER USER {user} SET NETWORK_POLICY = {NETWORK_POLICY};");
        }
        out
    }

    fn authentication(&self, user: &str) -> String {
        let (policy, methods, tokens) = match self.login {
            Login::Pat { days, .. } => (
                // A policy of its own for each lifetime: CREATE IF NOT EXISTS leaves one that is there as it is.
                format!("PATGATE_PAT_{days}"),
                "PROGRAMMATIC_ACCESS_TOKEN",
                format!(
                    "\n  PAT_POLICY = (\n    DEFAULT_EXPIRY_IN_DAYS = {days}\n    MAX_EXPIRY_IN_DAYS = {days}\n    \
                     NETWORK_POLICY_EVALUATION = ENFORCED_REQUIRED\n    \
                     REQUIRE_ROLE_RESTRICTION_FOR_SERVICE_USERS = TRUE\n    BLOCKED_ROLES_LIST = ({BLOCKED})\n  )"
                ),
            ),
            Login::KeyPair(_) => ("PATGATE_KEY_PAIR".to_owned(), "KEYPAIR", String::new()),
        };
        format!(
            "CREATE AUTHENTICATION POLICY IF NOT EXISTS {SCHEMA}.{policy}\n  AUTHENTICATION_METHODS = \
             ('{methods}'){tokens};\n\
             ALTER USER {user} SET AUTHENTICATION POLICY {SCHEMA}.{policy} FORCE;"
        )
    }

    /// The queries that show whether all of it stands.
    pub(super) fn checks(&self) -> String {
        let mut out = String::new();
        let (user, role) = (identifier(self.user), identifier(self.role));
        part(&mut out, "TYPE is SERVICE, DISABLED is false, DEFAULT_ROLE is the role.", &format!("DESC USER {user};"));
        part(
            &mut out,
            "The value is PATGATE_EGRESS, at the level USER.",
            &format!("SHOW PARAMETERS LIKE 'NETWORK_POLICY' IN USER {user};"),
        );
        part(
            &mut out,
            "The rule lists the address of each gate, and no other. Compare the step `address` of `patgate doctor`.",
            &format!("DESC NETWORK RULE {RULE};\nDESC NETWORK POLICY {NETWORK_POLICY};"),
        );
        part(
            &mut out,
            "The authentication policy that holds for the user.",
            &format!(
                "SELECT policy_name, policy_kind, ref_entity_domain\n  \
                 FROM TABLE(PATGATE.INFORMATION_SCHEMA.POLICY_REFERENCES(REF_ENTITY_NAME => {}, REF_ENTITY_DOMAIN \
                 => 'USER'));",
                text(&user)
            ),
        );
        part(
            &mut out,
            "The role has the warehouse, the database and the tables.",
            &format!("SHOW GRANTS TO ROLE {role};"),
        );
        if let Some(RotatorUser { user: rotator, login }) = &self.rotator {
            let rotator = identifier(rotator);
            let (own, look) = match login {
                RotatorLogin::KeyPair(_) => ("compare RSA_PUBLIC_KEY_FP", format!("DESC USER {rotator};")),
                RotatorLogin::Pat(_) => {
                    ("its own token is ACTIVE", format!("SHOW USER PROGRAMMATIC ACCESS TOKENS FOR USER {rotator};"))
                }
            };
            part(
                &mut out,
                &format!("The rotator's role has MODIFY PROGRAMMATIC AUTHENTICATION METHODS on the user; {own}."),
                &format!("SHOW GRANTS ON USER {user};\n{look}"),
            );
        }
        if let Login::Pat { .. } = self.login {
            part(
                &mut out,
                "The token is ACTIVE, with the role, and ends when it should; at most fifteen live at once.",
                &format!("SHOW USER PROGRAMMATIC ACCESS TOKENS FOR USER {user};"),
            );
        }
        part(
            &mut out,
            "Its last logins, from the gate's address and by the method that was set.",
            &format!(
                "SELECT event_timestamp, client_ip, first_authentication_factor, is_success, error_code, \
                 error_message\n  \
                 FROM TABLE(PATGATE.INFORMATION_SCHEMA.LOGIN_HISTORY_BY_USER(USER_NAME => {}, RESULT_LIMIT => 20))\n  \
                 ORDER BY event_timestamp DESC;",
                text(&self.user.to_uppercase())
            ),
        );
        out
    }
}

fn rotator_statements(rotator: &RotatorUser<'_>, user: &str) -> String {
    let (name, role) = (identifier(rotator.user), identifier(&format!("{}_ROLE", rotator.user)));
    let login = match rotator.login {
        RotatorLogin::KeyPair(key) => format!("ALTER USER {name} SET RSA_PUBLIC_KEY = {};", public_key(key)),
        // Nobody rotates the rotator: its token needs a hand, and a key pair does not.
        RotatorLogin::Pat(days) => format!(
            "ALTER USER {name} ADD PROGRAMMATIC ACCESS TOKEN PATGATE_ROTATOR ROLE_RESTRICTION = {} DAYS_TO_EXPIRY = \
             {days};",
            text(&format!("{}_ROLE", rotator.user.to_uppercase()))
        ),
    };
    format!(
        "CREATE ROLE IF NOT EXISTS {role};\n\
         CREATE USER IF NOT EXISTS {name} TYPE = SERVICE DEFAULT_ROLE = {} COMMENT = 'rotates tokens for patgate';\n\
         GRANT ROLE {role} TO USER {name};\n\
         ALTER USER {name} SET NETWORK_POLICY = {NETWORK_POLICY};\n\
         {login}\n\
         GRANT MODIFY PROGRAMMATIC AUTHENTICATION METHODS ON USER {user} TO ROLE {role};",
        text(&format!("{}_ROLE", rotator.user.to_uppercase()))
    )
}

fn public_key(key: Option<&str>) -> String {
    text(key.unwrap_or("<openssl pkey -in KEY.pem -pubout, without its first and its last line>"))
}

/// A comment that says why, and its statements.
fn part(out: &mut String, why: &str, statements: &str) {
    let _written = writeln!(out, "-- {why}\n{statements}\n");
}

#[cfg(test)]
#[path = "statements_tests.rs"]
mod tests;
