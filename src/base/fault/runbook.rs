//! The runbook: for each kind of failure, what the operator does next, and what may hide behind it.
//!
//! `patgate explain KIND` prints a page of it; a log line has the next step. What a code of Snowflake may hide is from
//! Snowflake's documentation and from the drivers' issue trackers.

use super::Kind;

/// What the operator needs to know of a kind, beside its row in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// What the operator does next.
    pub next_step: &'static str,
    /// What may hide behind it, the most frequent first; empty if the meaning says all.
    pub causes: &'static [&'static str],
}

const TOOL: &str = "Nothing, unless the client asks: the tool's settings are wrong. Find the tool by address, driver \
                    and application in the record.";
const NEW_KEY: &str =
    "Compare the hash in the client's `keys` with the key in use; `patgate client new` issues another.";
const NETWORK: &str = "Look at the network, balancers and antivirus programs between the client and the gate.";
const SCAN: &str = "Nothing, if it is a scan or a health check; else find the program by its address.";
const REACH: &str = "Try the same from the gate's host: the account's host and port must be reachable through the \
                     configured way. `patgate doctor` tries it, step by step.";

impl Kind {
    /// Its page in the runbook.
    pub fn page(self) -> Page {
        let page = |next_step: &'static str, causes: &'static [&'static str]| Page { next_step, causes };
        match self {
            Self::KeyMissing => page(
                TOOL,
                &[
                    "the tool uses single sign-on or a key pair instead of user and password",
                    "the password field is empty, or the tool did not save it",
                ],
            ),
            Self::KeyForeign => page(
                "Tell the client to paste its client key. If it pasted a PAT or a password of Snowflake, rotate that: \
                 it has been sent to another server than its own.",
                &["a Snowflake password or PAT in place of the client key"],
            ),
            Self::KeyDamaged => page(
                "Have the key copied again, whole; `patgate client new` issues another if it is lost.",
                &["a character was lost when the key was copied"],
            ),
            Self::ClientUnknown => page(
                "Compare the client's name in the record with the configuration: it was removed, renamed, or belongs \
                 to another gate.",
                &["the client was removed or renamed", "the key belongs to another gate"],
            ),
            Self::KeyWrong => {
                page(NEW_KEY, &["the key was replaced, and the tool has the old one", "somebody guesses"])
            }
            Self::LoginMalformed | Self::RenewalMalformed | Self::RestMalformed | Self::BodyBroken => page(
                "Find the program by address and driver in the record; a proxy that changes bodies is the usual cause.",
                &["no Snowflake driver sends it", "a proxy between the tool and the gate changes or cuts bodies"],
            ),
            Self::TooLarge => page(
                "Find the program by its address. If it is a driver's login, raise login.body or login.inflated.",
                &["no Snowflake driver sends it"],
            ),
            Self::AuthenticatorForeign | Self::FlowForeign => page(
                "Tell the client to choose user and password, with its client key as the password.",
                &["the tool is set to single sign-on, OAuth or key pair"],
            ),
            Self::SessionUnknown => page(
                "If many clients meet it at once, the key ring was lost or changed: look for lines about the ring. \
                 One client alone has an old session.",
                &[
                    "the session is older than Snowflake's master token, or than seal.keep",
                    "the key ring was replaced, or this gate has another one than the gate that opened the session",
                    "a balancer sends the client to a gate of another installation",
                ],
            ),
            Self::BearerMissing => page(TOOL, &["the program sends a PAT, a JWT or nothing as the bearer token"]),
            Self::RouteUnknown | Self::MethodWrong => page(SCAN, &["a browser, a scanner or a health check"]),
            Self::TargetForm => page(
                "Tell the client to enter the gate as the server, not as a proxy.",
                &["the gate's address is in the tool's proxy setting or in HTTPS_PROXY"],
            ),
            Self::ProxyRequest => page(
                "Tell the client to use the gate as the proxy for https alone (HTTPS_PROXY, not HTTP_PROXY). \
                 Drivers ask cloud metadata and OCSP by plain http: leave those without a proxy.",
                &["HTTP_PROXY names the gate too", "a scanner that looks for an open proxy"],
            ),
            Self::ProxyKeyMissing => page(
                "Tell the client to set the proxy's user name and password, or take `auth` from the listener: the \
                 login shows the key in any case.",
                &["the tool has no setting for the proxy's user", "the first try of a program that waits for the 407"],
            ),
            Self::ClientMixed => page(
                "Compare the client of the proxy's key with that of the login's key, both in the record.",
                &["one proxy setting for all tools of a host", "the key of one of them was replaced"],
            ),
            Self::AccountOther => page(
                "Compare the account that the CONNECT named with the account of the client's credential.",
                &["the tool's server is another account's", "the key of another environment: test and production"],
            ),
            Self::HostUnlisted => page(
                "Nothing, if no tool needs the host. If it is a stage of the account (`SELECT SYSTEM$ALLOWLIST()` says \
                 so), add HOST:PORT to the listener's `tunnel`, or the whole list as `allowlist`. Give tools the PAC \
                 file of `patgate proxy pac`, so that only the accounts' hosts come here.",
                &[
                    "a stage that is not listed yet",
                    "a host of the tool's own: updates, telemetry, sign-on",
                    "a scanner",
                ],
            ),
            Self::TunnelsFull => page(
                "Look at patgate_tunnels_open, and whose they are. Raise the listener's `tunnels` (half of \
                 listen.connections at most), or lower its `idle`.",
                &["one client downloads from many hosts at once", "tools that keep idle connections for long"],
            ),
            Self::HostAway | Self::HostSilent => page(
                "Try to reach the host from the gate's machine; the cause in the record says how far it came. \
                 Tunnels go straight out, not through an account's forward proxy.",
                &[
                    "a firewall between the gate and the stage",
                    "a private link's name that this machine cannot resolve",
                ],
            ),
            Self::TlsDistrusted => page(
                "Add the root to the store that this tool reads (each driver has its own), and check that the gate \
                 sends its whole chain: `patgate check` opens the certificate.",
                &[
                    "the root is not in the store that this driver reads",
                    "the gate sends its certificate without the intermediate one",
                    "the tool connects by an address or a name that the certificate does not hold",
                ],
            ),
            Self::TlsAbsent => page(
                SCAN,
                &[
                    "the tool is set to plain HTTP",
                    "a balancer's PROXY header to a listener that does not trust the balancer: listen.proxy",
                ],
            ),
            Self::TlsTooOld => page(TOOL, &["an old driver or an old operating system", "a scanner"]),
            Self::ClientCertificateUnknown => page(
                "Compare its issuer with listen.client_ca.",
                &["another issuer", "an intermediate certificate is missing"],
            ),
            Self::ClientCertificateExpired => page("Issue a new client certificate; compare the clocks.", &[]),
            Self::ClientCertificateRevoked => page("Nothing, if the revocation is meant; else correct the list.", &[]),
            Self::TlsFailed => page(NETWORK, &["no TLS client", "a program on the way changes the data"]),
            Self::Unadmitted => {
                page(SCAN, &["a program that connects and sends nothing", "a client whose key is wrong"])
            }
            Self::NetworkDenied | Self::AddressUnexpected => page(
                "Add the address to the client's `networks` if it is right. If it is a balancer's, set listen.proxy.",
                &["the client moved", "a balancer or NAT stands between, and its address is seen"],
            ),
            Self::RequestSlow | Self::TlsSlow => {
                page(NETWORK, &["packets are lost", "the client's machine is overloaded"])
            }
            Self::ProxyHeader => page(
                "Turn on the PROXY protocol at the balancer, or take its address out of listen.proxy.",
                &["the balancer's health check sends no header", "the PROXY protocol is off at the balancer"],
            ),
            Self::AddressCrowd => page(
                "Find out what connects from this address without logging in.",
                &["a scanner", "many clients with a wrong key behind one NAT"],
            ),
            Self::NoPlace => page(
                "Look who holds the places: refusals by source are in the log once a minute.",
                &["an attack, or a scanner", "many clients that connect and do not log in"],
            ),
            Self::ClientLeft => page(
                "Look how long the request had run, and in which step: a tool's timeout is often 60 s. A person may \
                 have cancelled.",
                &["the tool's login timeout is shorter than the wait", "somebody cancelled", "the network broke"],
            ),
            Self::PeerDenied => {
                page("Compare the client's `listeners`, `certificates` and `users` with the record.", &[])
            }
            Self::LoginLimit | Self::RequestLimit => page(
                "If the client is right to ask so often, raise its `limits`.",
                &["a tool opens a connection for each query", "a refresh starts many connections at once"],
            ),
            Self::SessionLimit => page(
                "`patgate sessions list` shows the client's sessions; raise limits.sessions, or end some.",
                &["a tool that does not log out", "more tools share the key than was thought"],
            ),
            Self::RoleDenied | Self::ContextDenied => page(
                "Compare the client's `roles`, `warehouses` and the like with what it asks for.",
                &["the tool's settings name another one than the gate's configuration allows"],
            ),
            Self::SessionEnded => page(
                "Nothing: an operator ended it, or the client was removed or its key replaced. The audit log says who.",
                &[],
            ),
            Self::SessionElsewhere => page(
                "Compare the addresses. If nobody moved, a session token was copied: end the client's sessions and \
                 replace its key.",
                &["the client's address changes", "a session token was copied"],
            ),
            Self::AccountBusy => {
                page("Raise accounts.NAME.in_flight, if the machine can serve more.", &["slow queries"])
            }
            Self::PatPolicy => page(
                "Add the gate's egress address to the service user's network policy. Snowflake's text has the address.",
                &[
                    "the gate's egress address changed",
                    "the network policy changed",
                    "a proxy on the way has another one",
                ],
            ),
            Self::PolicyMissing => page(
                "Give the service user a network policy that lists the gate's egress address: a user of TYPE = \
                 SERVICE cannot log in with a PAT without one.",
                &["the policy was dropped, or unset for the user"],
            ),
            Self::AuthenticationPolicy => page(
                "SHOW AUTHENTICATION POLICIES; the policy of the service user must list PROGRAMMATIC_ACCESS_TOKEN \
                 among its AUTHENTICATION_METHODS, and the driver's client type.",
                &["the policy's methods lack PROGRAMMATIC_ACCESS_TOKEN", "its CLIENT_TYPES lack this driver"],
            ),
            Self::ContextRefused => page(
                "Compare role, warehouse, database and schema in the record with the grants of the service user.",
                &["a role that is not granted, or that the PAT's role restriction excludes"],
            ),
            Self::CredentialContext => page(
                "Compare the credential's role with the grants of the service user and with the PAT's \
                 ROLE_RESTRICTION.",
                &["the role was revoked", "the PAT is restricted to another role"],
            ),
            Self::RoleRefused | Self::PlaceRefused => page(
                "Compare what the client asks for with the grants of the service user. Snowflake's text names it.",
                &["a typing error in the tool", "a missing grant", "the PAT is restricted to another role"],
            ),
            Self::RequestRefused => page("Look at Snowflake's text in the record, and at the driver's version.", &[]),
            Self::ContextUnset => page(
                "Compare it with the grants of the service user: Snowflake opens a session without what cannot be \
                 used, and the first query fails later.",
                &["a typing error in the tool", "no USAGE on it for the role"],
            ),
            Self::GateBusy => page(
                "If it happens often: let tools keep connections, give the clients a second service user, or look at \
                 the time that Snowflake takes for a login.",
                &["many logins at once with a PAT that has not lately proven itself", "Snowflake answers slowly"],
            ),
            Self::GateBroken => {
                page("Report it, with the output of `patgate explain TRACE-ID --bundle FILE`.", &["a bug"])
            }
            Self::CertificateExpired => page(
                "Renew the certificate of the listener; the gate takes up the new file by itself.",
                &["the certificate has ended", "the client's clock is wrong"],
            ),
            Self::MachineExhausted => page(
                "Raise LimitNOFILE, or the range of local ports; look at the machine's memory.",
                &["too few descriptors", "too few local ports", "no memory"],
            ),
            Self::AuditUnwritable => page(
                "Free space in the state directory, or mend its rights; or set audit.required = false.",
                &["the disk is full", "the directory's rights changed"],
            ),
            Self::RingAway => page("Mend the store that has the key ring; sessions go on when it answers.", &[]),
            Self::StoreUnavailable => page(
                "Look at the store's state and at the network to it; the gate keeps trying, and serves from memory \
                 while it has a PAT.",
                &[
                    "the store is down or sealed",
                    "name resolution, a firewall or a proxy",
                    "its certificate is not trusted",
                ],
            ),
            Self::StoreRefused => page(
                "Check the gate's rights in the store for this reference. `patgate check --online` reads it once.",
                &["the policy of the store's role lacks the path", "the version is disabled or destroyed"],
            ),
            Self::SecretMissing => page(
                "Compare the reference with the store: mount, path, field, version. `patgate check --online` reads it \
                 once.",
                &["a typing error in the reference", "the secret was moved or deleted", "another field name"],
            ),
            Self::SecretUnusable => page(
                "Store the PAT alone, as Snowflake printed it, or name the field of a JSON secret: STORE:PATH#FIELD.",
                &["the secret is JSON and the reference names no field", "a line break or quotes were stored with it"],
            ),
            Self::StoreLogin => page(
                "Renew the gate's own credentials for the store: role id and secret id, role, identity.",
                &["a secret id that has expired or was used up", "the role was removed", "the gate's clock is wrong"],
            ),
            Self::StoreThrottled => page(
                "Raise the store's quota, or refresh less often.",
                &["other programs use up the quota", "refresh is set too short"],
            ),
            Self::SnowflakeUnreachable => page(REACH, &["Snowflake was unreachable a moment ago, and the gate waits"]),
            Self::SnowflakeBusy => page("Look at Snowflake's status page.", &["a disturbance at Snowflake"]),
            Self::SnowflakeSilent => page(
                "Look at Snowflake's status page, and for a firewall that drops idle connections.",
                &["Snowflake is slow", "a firewall on the way forgot the connection"],
            ),
            Self::SnowflakeGarbled | Self::RedirectAway => page(
                "Open the account's host from the gate's machine: a proxy or a login page may answer in its place.",
                &["a proxy that opens TLS", "accounts.NAME.host or address is wrong"],
            ),
            Self::PatRefused => page(
                "SHOW USER PROGRAMMATIC ACCESS TOKENS FOR USER …: see whether the token is there, ACTIVE, and of this \
                 user; then store a new one. `patgate pat retry CREDENTIAL` sends it again.",
                &[
                    "the token was removed, or rotated and the store has the old one",
                    "the token is disabled: by hand, or by Snowflake since it leaked; do not simply enable it",
                    "it belongs to another user, or to another account",
                    "a policy now requires a role restriction, or has a shorter maximum lifetime",
                ],
            ),
            Self::PatExpired => page(
                "ALTER USER … ROTATE PROGRAMMATIC ACCESS TOKEN … if it lives, else ADD a new one; store it. The gate \
                 takes it up by itself.",
                &["nobody rotated it", "MAX_EXPIRY_IN_DAYS was lowered, which ends longer tokens at once"],
            ),
            Self::UserLocked => page(
                "Wait 15 minutes, or ALTER USER … SET MINS_TO_UNLOCK = 0. Find who failed to log in: LOGIN_HISTORY.",
                &["another program logs in with an old PAT or password"],
            ),
            Self::UserDisabled => page(
                "ALTER USER … SET DISABLED = FALSE, if that is right; its tokens stay disabled and need enabling.",
                &["somebody disabled the user", "a provisioning tool (SCIM) did"],
            ),
            Self::AccountUnknown => page(
                "Compare accounts.NAME.host with the account's URL in Snowsight.",
                &["a typing error", "the account was renamed or moved", "a private link name of another account"],
            ),
            Self::KeyPairRefused => page(
                "DESC USER …: compare RSA_PUBLIC_KEY_FP with the key in the store, and the gate's clock.",
                &["another key is set for the user", "the clock is wrong", "the account's name is wrong"],
            ),
            Self::LoginRefused => page(
                "Look up Snowflake's code and text in the record. If the text ends in an id in brackets, SELECT \
                 SYSTEM$GET_LOGIN_FAILURE_DETAILS('ID') has more.",
                &["a policy or a state of the user that this gate's table does not know"],
            ),
            Self::NameUnresolved => page(
                "Resolve the host on the gate's machine; for a private link, its name needs a private zone.",
                &[
                    "the host is misspelt",
                    "the machine's resolver is wrong or down",
                    "no private zone for a private link",
                ],
            ),
            Self::ConnectFailed => {
                page(REACH, &["a firewall", "a proxy is needed: accounts.NAME.proxy", "Snowflake is down"])
            }
            Self::UpstreamTls => page(
                "`patgate doctor` shows who issued the certificate: if it is your company's, exempt Snowflake from \
                 inspection, or set accounts.NAME.ca. If it is not valid yet or expired, compare the gate's clock.",
                &[
                    "a proxy on the way opens TLS",
                    "the gate's clock is wrong",
                    "accounts.NAME.ca lacks Snowflake's root",
                ],
            ),
            Self::ForwardProxy => page(
                "Ask who runs the proxy to allow CONNECT to the account's host; check its user and password.",
                &["the proxy's rules", "wrong user or password", "the proxy is down"],
            ),
            Self::AnswerBroken => page(
                "Look for firewalls that drop long connections; Snowflake may have restarted a service.",
                &["the network to Snowflake broke"],
            ),
            Self::RenewalRefused => page(
                "Nothing, if it is rare: the session was closed at Snowflake, or is older than its master token.",
                &["the session idled longer than its master token", "an administrator ended it"],
            ),
            Self::PatRevoked => page(
                "Store a new PAT, or `patgate pat replace CREDENTIAL --now` where the gate has a rotator. If it was a \
                 mistake, and the token lives at Snowflake: `patgate pat retry CREDENTIAL`.",
                &["`patgate pat revoke`: the audit log has who did it, and when"],
            ),
        }
    }
}
