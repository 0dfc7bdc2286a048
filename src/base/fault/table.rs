//! The table: one row for every kind of failure, with every decision about it.

use super::{Code, Level, Owner, Reply, Rule};

/// The general authorisation failure, which every driver shows without a retry (Snowflake's own code for a wrong
/// password).
const DENIED: Reply = Reply::Refusal(390_100);
/// The gate's own code, which is none of Snowflake's: the client's key is fine, but something behind the gate failed.
const BEHIND: Reply = Reply::Refusal(390_999);

/// Makes the kinds, their list, and the rule of each from one row per kind:
/// number of the code, name, owner, level of the log line, reply to a login, reply elsewhere, message,
/// the client's next step. The comment of a row is its meaning in the runbook (`super::runbook`).
macro_rules! faults {
    ($( $(#[doc = $doc:literal])+ $kind:ident = $number:literal, $name:literal, $owner:ident, $level:ident,
        $at_login:expr, $elsewhere:expr, $message:literal, $client_step:literal; )+) => {
        /// Every way to fail.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind { $( $(#[doc = $doc])+ $kind, )+ }

        impl Kind {
            /// All kinds, for tests, and for texts that name one.
            pub const ALL: &[Self] = &[$( Self::$kind, )+];

            /// Its row in the table.
            pub fn rule(self) -> Rule {
                use Reply::{GiveUp, Proxy, Refusal, Retry, Status};
                match self {
                    $( Self::$kind => Rule {
                        name: $name,
                        code: Code($number),
                        owner: Owner::$owner,
                        level: Level::$level,
                        at_login: $at_login,
                        elsewhere: $elsewhere,
                        message: $message,
                        meaning: concat!($($doc,)+),
                        client_step: $client_step,
                    }, )+
                }
            }
        }
    };
}

// Never use a number again for another kind. Unknown client and wrong key say the same, so that a client cannot search
// for names.
faults! {
    /// A login without a credential, or with two different ones.
    KeyMissing = 101, "key_missing", Client, Warn, DENIED, DENIED,
        "the login holds {}",
        "Put your patgate client key, which begins with pgk_, into the tool's password field and nothing else.";
    /// A credential that is not a client key, such as a password or a PAT.
    KeyForeign = 102, "key_foreign", Client, Warn, DENIED, DENIED,
        "the password is not a client key of this gate",
        "Client keys begin with pgk_. Ask the operator of the gate for one; never type a Snowflake password \
         or token here.";
    /// A client key with wrong check digits: a character is missing or wrong.
    KeyDamaged = 103, "key_damaged", Client, Warn, DENIED, DENIED,
        "the client key is damaged: its check digits do not match",
        "Copy the whole key again, without spaces or line breaks.";
    /// A well-formed key of a client that the configuration does not know.
    ClientUnknown = 104, "client_unknown", Client, Warn, DENIED, DENIED,
        "the client key is not known to this gate",
        "Compare it with the key you were given, or ask the operator whether it was replaced.";
    /// A well-formed key that is not one of the client's.
    KeyWrong = 105, "key_wrong", Client, Warn, DENIED, DENIED,
        "the client key is not known to this gate",
        "Compare it with the key you were given, or ask the operator whether it was replaced.";
    /// A login body that cannot be read.
    LoginMalformed = 106, "login_malformed", Client, Warn, Refusal(390_400), Refusal(390_400),
        "the login request cannot be read: {}",
        "Check that a Snowflake driver sends it, and that no proxy changes it.";
    /// A login body over the cap, before or after inflating.
    TooLarge = 107, "request_too_large", Client, Warn, Status(413), Status(413),
        "the request is larger than {}",
        "A driver sends a few KB here; find the program that sends this request.";
    /// A body that its client did not send to the end, or whose framing is wrong.
    BodyBroken = 108, "request_body_broken", Client, Warn, Refusal(390_400), Refusal(390_400),
        "the body of the request is incomplete, or cannot be read",
        "Check the program that sends it, and the network between the tool and the gate.";
    /// A login by SSO, OAuth, key pair or workload identity.
    AuthenticatorForeign = 109, "authenticator_foreign", Client, Warn, DENIED, DENIED,
        "this gate does not log in with authenticator {}",
        "Use user name and password, or PROGRAMMATIC_ACCESS_TOKEN, with your patgate client key as password \
         or token.";
    /// A path of the browser or OAuth flows.
    FlowForeign = 110, "flow_foreign", Client, Warn, DENIED, DENIED,
        "this gate does not support single sign-on and OAuth",
        "Use user name and password, or PROGRAMMATIC_ACCESS_TOKEN, with your patgate client key as password \
         or token.";
    /// A renewal that cannot be read.
    RenewalMalformed = 111, "renewal_malformed", Client, Warn, Refusal(390_400), Refusal(390_400),
        "the renewal of the session cannot be read: {}",
        "Check that a Snowflake driver sends it, and that no proxy changes it.";
    /// A request without a token that this gate has sealed for such a request.
    SessionUnknown = 112, "session_unknown", Client, Warn, GiveUp, GiveUp,
        "this gate does not know this session, or the session has expired",
        "Open the connection again; give the trace id to the operator if it happens often.";
    /// A REST request without a client key as its bearer token.
    BearerMissing = 113, "bearer_missing", Client, Warn, DENIED, DENIED,
        "the request has no client key of this gate",
        "Send `Authorization: Bearer` and your patgate client key, which begins with pgk_.";
    /// A REST request that cannot be read.
    RestMalformed = 114, "rest_malformed", Client, Warn, Refusal(390_400), Refusal(390_400),
        "the request cannot be read: {}",
        "Check the program that sends it, and every proxy on the way.";
    /// A path that no driver uses.
    RouteUnknown = 115, "route_unknown", Client, Warn, Status(404), Status(404),
        "this path is not part of Snowflake's driver protocol",
        "Point a Snowflake driver here, not a browser.";
    /// A known path with the wrong method.
    MethodWrong = 116, "method_wrong", Client, Warn, Status(405), Status(405),
        "this path does not take this method",
        "Point a Snowflake driver here, not a browser.";
    /// CONNECT, a target in absolute form, or not exactly one Host.
    TargetForm = 117, "target_form", Client, Warn, Status(421), Status(421),
        "this gate is not a forward proxy, and takes exactly one Host",
        "Remove the gate from the tool's proxy settings, and enter it as the server.";
    /// A TLS client that does not trust the gate's certificate.
    TlsDistrusted = 118, "tls_distrusted", Client, Warn, Status(421), Status(421),
        "the tool does not trust the certificate of the gate",
        "Add the root of the gate's certificate to the tool's trusted roots, and connect by a name that the \
         certificate holds.";
    /// A client that does not begin with a TLS handshake.
    TlsAbsent = 119, "tls_absent", Client, Warn, Status(421), Status(421),
        "the connection does not begin with TLS",
        "Use https, and remove a setting such as ssl=off or protocol=http.";
    /// A client without a TLS version, cipher suite or group that the gate accepts.
    TlsTooOld = 120, "tls_too_old", Client, Warn, Status(421), Status(421),
        "the tool and the gate have no version or cipher suite of TLS in common",
        "Update the tool or its driver: the gate needs TLS 1.2 or 1.3.";
    /// A client certificate that the listener's roots did not issue, or that cannot be used.
    ClientCertificateUnknown = 122, "client_certificate_unknown", Client, Warn, Status(421), Status(421),
        "the gate does not accept the client certificate",
        "Ask the operator of the gate for a certificate of the right issuer.";
    /// A client certificate whose time is over or has not begun.
    ClientCertificateExpired = 123, "client_certificate_expired", Client, Warn, Status(421), Status(421),
        "the client certificate has expired, or is not valid yet",
        "Renew the tool's client certificate.";
    /// Any other failed handshake.
    TlsFailed = 125, "tls_failed", Client, Warn, Status(421), Status(421),
        "the TLS handshake failed",
        "Check that a Snowflake driver connects here, and that no program between it and the gate changes the data.";
    /// A connection without an admitted request in the time for one.
    Unadmitted = 126, "unadmitted", Client, Warn, Status(408), Status(408),
        "the connection had no admitted request in time",
        "Connect with a Snowflake driver and a client key.";
    /// Snowflake refuses the role that the client asks for.
    RoleRefused = 127, "role_refused", Client, Warn, Refusal(390_189), Refusal(390_189),
        "Snowflake refuses the role",
        "Check the role in the tool's settings, or ask who administers Snowflake to grant it.";
    /// Snowflake refuses the warehouse, the database or the schema that the client asks for.
    PlaceRefused = 128, "place_refused", Client, Warn, Refusal(390_201), Refusal(390_201),
        "Snowflake refuses the warehouse, the database or the schema",
        "Check them in the tool's settings, or ask who administers Snowflake for the grants.";
    /// Snowflake finds the client's request malformed.
    RequestRefused = 129, "request_refused", Client, Warn, Refusal(390_400), Refusal(390_400),
        "Snowflake finds the request malformed",
        "Check the tool's connection settings, and the version of its driver.";
    /// A session that Snowflake opened without the role, warehouse, database or schema that the login asked for.
    ContextUnset = 130, "context_unset", Client, Warn, Refusal(390_201), Refusal(390_201),
        "the session did not get the {} that the login asked for",
        "Check the spelling in the tool's settings, or ask who administers Snowflake for the grant.";
    /// The client closed its connection, or cancelled, before its answer was complete.
    ClientLeft = 131, "client_left", Client, Warn, Status(408), Status(408),
        "the tool closed the connection before the answer was complete",
        "Look at the tool's own timeout, and whether somebody cancelled.";
    /// Anything but a CONNECT with a host and a port, at the proxy way in.
    ProxyRequest = 132, "proxy_request", Client, Warn, Proxy(403), Proxy(403),
        "this proxy takes CONNECT alone: {}",
        "Set the gate as the tool's proxy for https, and for nothing else.";
    /// A CONNECT that does not say whose it is, where the listener asks for that (`auth = true`).
    ProxyKeyMissing = 133, "proxy_key_missing", Client, Warn, Proxy(407), Proxy(407),
        "this proxy asks for a client's name and key",
        "Enter the client's name as the proxy's user name, and its client key as the proxy's password.";
    /// Names and keys of two clients, in the proxy's setting and in the login.
    ClientMixed = 134, "client_mixed", Client, Warn, DENIED, DENIED,
        "two clients are named: {}",
        "Put the name and the key of one client into the tool's proxy setting, and its key into the password.";
    /// A key for another account than the one that a CONNECT named.
    AccountOther = 135, "account_other", Client, Warn, DENIED, DENIED,
        "the client key is for another account than the one that the tool connects to",
        "Correct the account or the server in the tool's settings, or ask for a key for this account.";
    /// The source address is in none of the networks that the client may come from.
    NetworkDenied = 201, "network_denied", Network, Warn, DENIED, Refusal(390_111),
        "your address {} is not in a network that this client may use",
        "Ask the operator to add it to the client's networks, or connect from a permitted host.";
    /// A request whose body did not arrive within its deadline.
    RequestSlow = 202, "request_slow", Network, Warn, Status(408), Status(408),
        "the request did not arrive in time",
        "Check the network between the tool and the gate.";
    /// A TLS handshake that did not end in time.
    TlsSlow = 203, "tls_slow", Network, Warn, Status(408), Status(408),
        "the TLS handshake took too long",
        "Check the network between the tool and the gate.";
    /// A balancer's connection without its PROXY header, or with one that cannot be read.
    ProxyHeader = 204, "proxy_header", Network, Warn, Status(408), Status(408),
        "the load balancer did not send its PROXY header",
        "Ask the operator of the gate.";
    /// A connection from an address in no client's networks.
    AddressUnexpected = 205, "address_unexpected", Network, Warn, Status(421), Status(421),
        "no client may connect from this address",
        "Ask the operator to add it to the client's networks, or connect from a permitted host.";
    /// Too many connections of one address without an admitted request.
    AddressCrowd = 206, "address_crowd", Network, Warn, Status(429), Status(429),
        "too many connections of this address have not logged in",
        "Find the program that connects without logging in.";
    /// A connection that waited too long for one of the places for those that have not logged in.
    NoPlace = 207, "no_place", Network, Warn, Status(429), Status(429),
        "too many connections wait for a place",
        "Try again.";
    /// A host that the proxy may open a tunnel to, and that does not answer.
    HostAway = 208, "host_away", Network, Warn, Proxy(502), Proxy(502),
        "the proxy does not reach {}",
        "Try again; if it lasts, give the trace id to the operator of the gate.";
    /// A host that the proxy may open a tunnel to, and that says nothing for 8 s.
    HostSilent = 209, "host_silent", Network, Warn, Proxy(504), Proxy(504),
        "{} does not answer the proxy",
        "Try again; if it lasts, give the trace id to the operator of the gate.";
    /// The client must use another listener, show a certificate of its own, or be a program of certain users on this
    /// machine.
    PeerDenied = 301, "peer_denied", Policy, Warn, DENIED, Refusal(390_111),
        "this client may not connect this way: {}",
        "Ask the operator of the gate.";
    /// More logins than a limit allows.
    LoginLimit = 302, "login_limit", Policy, Warn, DENIED, Retry(429, 1),
        "{}",
        "Wait, and let the tool keep its connections instead of opening new ones.";
    /// More requests than a limit allows.
    RequestLimit = 303, "request_limit", Policy, Debug, Retry(429, 1), Retry(429, 1),
        "{}",
        "Wait; drivers retry such a request.";
    /// More sessions than the client may have.
    SessionLimit = 304, "session_limit", Policy, Warn, DENIED, DENIED,
        "this client has {} open sessions, the most that it may have",
        "Close unused connections, or ask the operator of the gate.";
    /// A role that the client may not ask for.
    RoleDenied = 305, "role_denied", Policy, Warn, Refusal(390_189), Refusal(390_189),
        "this client may not use the role {}",
        "Remove the role from the tool's settings, or ask the operator of the gate.";
    /// A warehouse, database or schema that the client may not ask for.
    ContextDenied = 306, "context_denied", Policy, Warn, Refusal(390_201), Refusal(390_201),
        "this client may not use the {}",
        "Remove it from the tool's settings, or ask the operator of the gate.";
    /// A session that the operator has ended, or whose client may no longer use the gate.
    SessionEnded = 307, "session_ended", Policy, Warn, Refusal(390_111), Refusal(390_111),
        "the operator of the gate has ended this session",
        "Open the connection again; if that is refused too, ask the operator.";
    /// A request for a session from a place that the session is not bound to.
    SessionElsewhere = 308, "session_elsewhere", Policy, Warn, Refusal(390_111), Refusal(390_111),
        "this session was opened elsewhere and may not be used from here",
        "Open a new connection; give the trace id to the operator if nobody has copied the session.";
    /// The account's in-flight limit is reached.
    AccountBusy = 309, "account_busy", Policy, Warn, Retry(503, 1), Retry(503, 1),
        "this gate has reached its limit of requests in flight to Snowflake",
        "Try again; ask the operator of the gate for a higher limit if it lasts.";
    /// Snowflake's network policy refused the gate's address.
    PatPolicy = 310, "pat_policy", Policy, Error, BEHIND, BEHIND,
        "your key is fine, but a Snowflake network policy refuses the gate",
        "Give the trace id to the operator: the service user's network policy must list the gate's egress \
         address.";
    /// Snowflake refuses what this client asks for, and accepts the gate's own login with the same PAT.
    ContextRefused = 311, "context_refused", Policy, Error, BEHIND, BEHIND,
        "your key is fine, and Snowflake accepts the gate, but it refuses the logins of this client as it composes \
         them",
        "Remove role, warehouse, database and schema from the tool's settings, or choose others; give the trace id to \
         the operator, whose log has Snowflake's code and text.";
    /// Snowflake refuses every login without a network policy for the service user.
    PolicyMissing = 312, "policy_missing", Policy, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake wants a network policy for the service user of the gate",
        "Give the trace id to the operator.";
    /// Snowflake's authentication policy refuses the way in which the gate logs in.
    AuthenticationPolicy = 313, "authentication_policy", Policy, Error, BEHIND, BEHIND,
        "your key is fine, but an authentication policy of Snowflake refuses the logins of the gate",
        "Give the trace id to the operator.";
    /// A client certificate on the revocation list.
    ClientCertificateRevoked = 314, "client_certificate_revoked", Policy, Warn, Status(421), Status(421),
        "the client certificate is revoked",
        "Ask the operator of the gate for a new certificate.";
    /// An operator has revoked the PAT at this gate, and the store has no newer one.
    PatRevoked = 315, "pat_revoked", Policy, Error, BEHIND, BEHIND,
        "your key is fine, but an operator has revoked the token that the gate holds, and no newer one is in the \
         secrets manager",
        "Give the trace id to the operator: a new programmatic access token is needed.";
    /// A CONNECT to a host that is neither an account's nor listed.
    HostUnlisted = 316, "host_unlisted", Policy, Warn, Proxy(403), Proxy(403),
        "this proxy opens no way to {}",
        "If the tool needs this host, ask the operator of the gate to list it; else send it past this proxy.";
    /// All tunnels are in use, or the client has its share of them.
    TunnelsFull = 317, "tunnels_full", Policy, Warn, Proxy(503), Proxy(503),
        "the proxy has no place for another tunnel",
        "Try again when other downloads have ended.";
    /// Too many logins of one service user wait for their turn.
    GateBusy = 401, "gate_busy", Gate, Error, BEHIND, Retry(503, 5),
        "too many logins of this gate are waiting for Snowflake",
        "Try again; let tools keep their connections, or ask the operator for a second service user.";
    /// The gate has an internal error.
    GateBroken = 402, "gate_broken", Gate, Error, BEHIND, Retry(503, 1),
        "the gate has an internal error",
        "Give the trace id to the operator.";
    /// A client says that the gate's certificate has expired.
    CertificateExpired = 403, "certificate_expired", Gate, Error, Status(421), Status(421),
        "the tool finds the certificate of the gate expired",
        "Ask the operator of the gate to renew it; check the clock of this machine.";
    /// This machine has no descriptor, port or memory left.
    MachineExhausted = 404, "machine_exhausted", Gate, Error, BEHIND, Retry(503, 1),
        "your key is fine, but the gate's machine has no resources left for a connection",
        "Try again; give the trace id to the operator if it lasts.";
    /// The audit log cannot be written, and `audit.required` is set.
    AuditUnwritable = 405, "audit_unwritable", Gate, Error, BEHIND, BEHIND,
        "your key is fine, but the gate cannot write its audit log, and must not serve without it",
        "Give the trace id to the operator.";
    /// Snowflake refuses the role, warehouse or database of the credential itself.
    CredentialContext = 406, "credential_context", Gate, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake refuses the role or the context that the gate is set to ask for",
        "Give the trace id to the operator.";
    /// A token whose key may be on the ring, which the gate cannot read now.
    RingAway = 501, "ring_away", Store, Error, Retry(503, 1), Retry(503, 1),
        "the gate cannot read its key ring now",
        "Try again; give the trace id to the operator if it lasts.";
    /// The secrets manager did not answer, and no PAT is in memory.
    StoreUnavailable = 502, "store_unavailable", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the gate cannot reach the secrets manager that holds the Snowflake token",
        "Give the trace id to the operator; the gate keeps trying.";
    /// The secrets manager refused, or does not know the secret.
    StoreRefused = 503, "store_refused", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the secrets manager does not give the gate the Snowflake token",
        "Give the trace id to the operator, who checks the reference and the gate's rights in the store.";
    /// The secret exists but cannot be a PAT.
    SecretUnusable = 504, "secret_unusable", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the secret in the secrets manager is not a usable Snowflake token or key",
        "Give the trace id to the operator, who checks the form of the secret.";
    /// The store has no such secret, version or field.
    SecretMissing = 505, "secret_missing", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the secrets manager has no secret at the place that the gate is set to read",
        "Give the trace id to the operator.";
    /// The store does not accept the gate's own credentials.
    StoreLogin = 506, "store_login", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the secrets manager does not accept the gate",
        "Give the trace id to the operator.";
    /// The store asks the gate to wait.
    StoreThrottled = 507, "store_throttled", Store, Error, BEHIND, BEHIND,
        "your key is fine, but the secrets manager asks the gate to wait",
        "Try again in a minute; give the trace id to the operator if it lasts.";
    /// Snowflake cannot be reached.
    SnowflakeUnreachable = 601, "snowflake_unreachable", Snowflake, Error, BEHIND, Retry(503, 2),
        "your key is fine, but the gate cannot reach Snowflake",
        "Give the trace id to the operator; the gate keeps trying.";
    /// Snowflake answers that it cannot serve now.
    SnowflakeBusy = 602, "snowflake_busy", Snowflake, Error, BEHIND, Retry(503, 5),
        "Snowflake answers that it cannot serve now",
        "Try again; look at Snowflake's status page if it lasts.";
    /// Snowflake accepted the request and did not begin to answer in time.
    SnowflakeSilent = 603, "snowflake_silent", Snowflake, Error, BEHIND, Retry(504, 2),
        "Snowflake took the request and did not answer in time",
        "Try again; give the trace id to the operator if it lasts.";
    /// Snowflake, or another server in its place, sent something that is not an answer to this request.
    SnowflakeGarbled = 604, "snowflake_garbled", Snowflake, Error, BEHIND, Retry(502, 2),
        "the server that answered did not speak Snowflake's protocol",
        "Give the trace id to the operator: a proxy may have answered, or the account's address is wrong.";
    /// Snowflake refused the PAT, and the store has no newer one.
    PatRefused = 605, "pat_refused", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake refuses the token that the gate holds, and no newer one is in the \
         secrets manager",
        "Give the trace id to the operator: the programmatic access token has expired, is disabled or needs \
         rotation.";
    /// Snowflake has locked the service user for a while.
    UserLocked = 606, "user_locked", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake has locked the service user for a while",
        "Wait 15 minutes; give the trace id to the operator.";
    /// Snowflake refused the gate's own login for a reason that the table of refusals does not have.
    LoginRefused = 607, "login_refused", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake refuses the logins of the gate",
        "Give the trace id to the operator: the gate's log has Snowflake's code and text.";
    /// Snowflake says that the PAT has expired.
    PatExpired = 608, "pat_expired", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but the Snowflake token that the gate holds has expired, and no newer one is in the \
         secrets manager",
        "Give the trace id to the operator: the programmatic access token needs rotation.";
    /// Snowflake has disabled the service user.
    UserDisabled = 609, "user_disabled", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake has disabled the service user of the gate",
        "Give the trace id to the operator.";
    /// Snowflake knows no account behind the configured host.
    AccountUnknown = 610, "account_unknown", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake knows no account behind the host that the gate connects to",
        "Give the trace id to the operator.";
    /// Snowflake refuses the token of a key pair.
    KeyPairRefused = 611, "key_pair_refused", Snowflake, Error, BEHIND, BEHIND,
        "your key is fine, but Snowflake refuses the key pair of the service user",
        "Give the trace id to the operator.";
    /// The name of the account's host has no address.
    NameUnresolved = 612, "name_unresolved", Snowflake, Error, BEHIND, Retry(503, 2),
        "your key is fine, but the gate finds no address for Snowflake's name",
        "Give the trace id to the operator; the gate keeps trying.";
    /// No address of the account's host accepts a connection.
    ConnectFailed = 613, "connect_failed", Snowflake, Error, BEHIND, Retry(503, 2),
        "your key is fine, but the gate cannot connect to Snowflake",
        "Give the trace id to the operator; the gate keeps trying.";
    /// The server behind the account's address did not pass the check of its certificate.
    UpstreamTls = 614, "upstream_tls", Snowflake, Error, BEHIND, Retry(503, 2),
        "your key is fine, but the gate does not trust the server that answers for Snowflake",
        "Give the trace id to the operator: a program between the gate and Snowflake may open TLS.";
    /// The forward proxy on the way to Snowflake refuses, or cannot be reached.
    ForwardProxy = 615, "forward_proxy", Snowflake, Error, BEHIND, Retry(503, 2),
        "your key is fine, but the proxy on the way to Snowflake does not let the gate through",
        "Give the trace id to the operator.";
    /// Snowflake's answer ended before its last byte.
    AnswerBroken = 616, "answer_broken", Snowflake, Warn, BEHIND, Retry(502, 2),
        "Snowflake's answer broke off",
        "Run the statement again; give the trace id to the operator if it happens often.";
    /// An answer that redirects to another host.
    RedirectAway = 617, "redirect_away", Snowflake, Error, BEHIND, Retry(502, 2),
        "the server that answered wants to send the tool to another host",
        "Give the trace id to the operator: a proxy or a sign-on page may have answered.";
    /// Snowflake does not renew the session.
    RenewalRefused = 618, "renewal_refused", Snowflake, Warn, GiveUp, GiveUp,
        "Snowflake does not renew the session",
        "Open the connection again.";
}
