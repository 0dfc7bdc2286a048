//! `[stores.NAME.KIND]`: where each secrets manager is, and how the gate logs in to it.

use std::path::PathBuf;

use super::read::Section;
use super::secret_source::{SecretSource, required_source, secret_source};
use super::{ForwardProxy, forward_proxy};

/// One configured secrets manager.
#[derive(Debug, Clone, PartialEq)]
pub enum Store {
    /// Files below a directory.
    File(FileStore),
    /// Environment variables.
    Env,
    /// HashiCorp Vault, or OpenBao.
    Vault(VaultStore),
    /// AWS Secrets Manager.
    Aws(AwsStore),
    /// Azure Key Vault.
    Azure(AzureStore),
    /// GCP Secret Manager.
    Gcp(GcpStore),
}

impl Store {
    /// The word for the kind, which is also the name of its cargo feature.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Env => "env",
            Self::Vault(_) => "vault",
            Self::Aws(_) => "aws",
            Self::Azure(_) => "azure",
            Self::Gcp(_) => "gcp",
        }
    }

    /// The forward proxy on the way there.
    pub fn proxy(&self) -> Option<&ForwardProxy> {
        let reach = match self {
            Self::File(_) | Self::Env => return None,
            Self::Vault(vault) => &vault.reach,
            Self::Aws(aws) => &aws.reach,
            Self::Azure(azure) => &azure.reach,
            Self::Gcp(gcp) => &gcp.reach,
        };
        reach.proxy.as_ref()
    }
}

/// `[stores.NAME.file]`.
#[derive(Debug, Clone, PartialEq)]
pub struct FileStore {
    /// The directory.
    pub path: PathBuf,
}

/// The way to a store over the network.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach {
    /// Roots to trust instead of the platform's, or the store's own self-signed certificate.
    pub ca: Option<PathBuf>,
    /// The forward proxy on the way. Addresses of this machine and metadata services are asked directly.
    pub proxy: Option<ForwardProxy>,
}

/// `[stores.NAME.vault]`.
#[derive(Debug, Clone, PartialEq)]
pub struct VaultStore {
    /// `https://HOST:PORT`, or `http://` on a loopback address.
    pub address: String,
    /// The way there.
    pub reach: Reach,
    /// `X-Vault-Namespace`.
    pub namespace: Option<String>,
    /// The version of the KV engine; `None` asks the server.
    pub kv: Option<KvVersion>,
    /// How to log in.
    pub login: VaultLogin,
}

/// The version of a KV engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvVersion {
    /// Without versions.
    V1,
    /// With versions.
    V2,
}

/// How the gate logs in to Vault. `mount` is where the method is mounted.
#[derive(Debug, Clone, PartialEq)]
pub enum VaultLogin {
    /// A token that another program renews, or that does not expire.
    Token(SecretSource),
    /// AppRole.
    AppRole { mount: String, role_id: SecretSource, secret_id: SecretSource },
    /// A Kubernetes service account; `jwt` is its token, which the gate reads again at every login.
    Kubernetes { mount: String, role: String, jwt: SecretSource },
    /// A JWT of another issuer, which the gate reads again at every login; without a role, the method's default.
    Jwt { mount: String, role: Option<String>, jwt: SecretSource },
    /// A TLS client certificate; without a role, Vault tries all roles.
    Certificate { mount: String, role: Option<String>, certificate: PathBuf, key: PathBuf },
}

/// `[stores.NAME.aws]`. Credentials are found as every AWS tool finds them: environment, profile, web identity,
/// container, instance.
#[derive(Debug, Clone, PartialEq)]
pub struct AwsStore {
    /// The region; `None` takes that of the environment, the profile or the instance.
    pub region: Option<String>,
    /// An endpoint other than the region's own, such as a VPC endpoint.
    pub address: Option<String>,
    /// The way there.
    pub reach: Reach,
}

/// `[stores.NAME.azure]`.
#[derive(Debug, Clone, PartialEq)]
pub struct AzureStore {
    /// `https://NAME.vault.azure.net`.
    pub address: String,
    /// An authority other than the public cloud's, such as `https://login.microsoftonline.us`.
    pub authority: Option<String>,
    /// The way there.
    pub reach: Reach,
    /// Accepts the resource that a vault names for its tokens, even if it is not in the vault's own domain.
    pub danger_any_resource: bool,
    /// How to log in.
    pub login: AzureLogin,
}

/// How the gate logs in to Azure.
#[derive(Debug, Clone, PartialEq)]
pub enum AzureLogin {
    /// The identity of the machine or the app; `client` names a user-assigned one.
    ManagedIdentity { client: Option<String> },
    /// A federated token, by default the one that AKS mounts and names in the environment.
    WorkloadIdentity { tenant: Option<String>, client: Option<String>, token: Option<PathBuf> },
    /// An application with a secret.
    ClientSecret { tenant: String, client: String, secret: SecretSource },
}

/// `[stores.NAME.gcp]`.
#[derive(Debug, Clone, PartialEq)]
pub struct GcpStore {
    /// The project of references that do not name one.
    pub project: String,
    /// A service account's key or an external account's description, in Google's file format. `None` finds credentials
    /// as every Google tool does: the environment, then the metadata server.
    pub credentials: Option<SecretSource>,
    /// An endpoint other than `https://secretmanager.googleapis.com`, such as a regional one.
    pub address: Option<String>,
    /// The way there.
    pub reach: Reach,
}

const KINDS: [&str; 6] = ["file", "env", "vault", "aws", "azure", "gcp"];

/// A store; `everywhere` is the forward proxy of those that name none.
pub(super) fn store(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Store> {
    let kinds = [
        section.section("file").map(file),
        section.section("env").map(env),
        section.section("vault").map(|section| vault(section, everywhere)),
        section.section("aws").map(|section| aws(section, everywhere)),
        section.section("azure").map(|section| azure(section, everywhere)),
        section.section("gcp").map(|section| gcp(section, everywhere)),
    ];
    if KINDS.iter().filter(|kind| section.has(kind)).count() != 1 {
        section.error(
            "a store has exactly one kind",
            format!("Write [stores.NAME.KIND] with one of {}", KINDS.join(", ")),
        );
    }
    section.finish();
    kinds.into_iter().flatten().flatten().next()
}

fn file(section: Section<'_>) -> Option<Store> {
    let path = section.required_path("path", "a directory");
    section.finish();
    Some(Store::File(FileStore { path: path?.value }))
}

fn env(section: Section<'_>) -> Option<Store> {
    section.finish();
    Some(Store::Env)
}

fn vault(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Store> {
    let wanted = "https://HOST:PORT, or http:// on a loopback address";
    let address = section.required_parsed("address", wanted, origin);
    let reach = reach(&section, everywhere);
    let namespace = section.text("namespace", "a namespace, such as \"team/bi\"");
    let kv = section.choice("kv", &[("auto", None), ("v1", Some(KvVersion::V1)), ("v2", Some(KvVersion::V2))]);
    let token = secret_source(&section, "token").map(|found| VaultLogin::Token(found.value));
    let logins = [
        token,
        section.section("approle").and_then(approle),
        section.section("kubernetes").and_then(kubernetes),
        section.section("jwt").and_then(jwt),
        section.section("cert").and_then(cert),
    ];
    one_of(
        &section,
        "a Vault store has exactly one login",
        "Write token = \"file:…\", or one of the tables approle, kubernetes, jwt, cert",
        &["token", "approle", "kubernetes", "jwt", "cert"],
    );
    section.finish();
    Some(Store::Vault(VaultStore {
        address: address?.value,
        reach,
        namespace: namespace.map(|found| found.value),
        kv: kv.and_then(|found| found.value),
        login: logins.into_iter().flatten().next()?,
    }))
}

fn approle(section: Section<'_>) -> Option<VaultLogin> {
    let mount = mount(&section, "approle");
    let role_id = required_source(&section, "role_id");
    let secret_id = required_source(&section, "secret_id");
    section.finish();
    Some(VaultLogin::AppRole { mount, role_id: role_id?, secret_id: secret_id? })
}

fn kubernetes(section: Section<'_>) -> Option<VaultLogin> {
    let mount = mount(&section, "kubernetes");
    let role = section.required("role", "the name of a role of the method");
    let jwt = secret_source(&section, "jwt").map(|found| found.value);
    section.finish();
    let mounted = || SecretSource::File("/var/run/secrets/kubernetes.io/serviceaccount/token".into());
    Some(VaultLogin::Kubernetes { mount, role: role?.value, jwt: jwt.unwrap_or_else(mounted) })
}

fn jwt(section: Section<'_>) -> Option<VaultLogin> {
    let mount = mount(&section, "jwt");
    let role = role(&section);
    let jwt = required_source(&section, "jwt");
    section.finish();
    Some(VaultLogin::Jwt { mount, role, jwt: jwt? })
}

fn cert(section: Section<'_>) -> Option<VaultLogin> {
    let mount = mount(&section, "cert");
    let role = role(&section);
    let pem = "the path of a PEM file";
    let (certificate, key) = (section.required_path("certificate", pem), section.required_path("key", pem));
    section.finish();
    Some(VaultLogin::Certificate { mount, role, certificate: certificate?.value, key: key?.value })
}

fn mount(section: &Section<'_>, default: &str) -> String {
    let found = section.text("mount", "where the method is mounted, such as \"approle\"");
    found.map_or_else(|| default.to_owned(), |found| found.value)
}

fn role(section: &Section<'_>) -> Option<String> {
    section.text("role", "the name of a role of the method").map(|found| found.value)
}

fn aws(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Store> {
    let region = section.text("region", "a region, such as \"eu-central-1\"");
    let (address, reach) = (endpoint(&section), reach(&section, everywhere));
    section.finish();
    Some(Store::Aws(AwsStore { region: region.map(|found| found.value), address, reach }))
}

fn azure(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Store> {
    let address = section.required_parsed("address", "https://NAME.vault.azure.net", origin);
    let authority = section.parsed("authority", "https://HOST of the authority", origin);
    let reach = reach(&section, everywhere);
    let any = section.flag("danger_any_resource");
    let logins = [
        section.section("managed_identity").map(managed_identity),
        section.section("workload_identity").map(workload_identity),
        section.section("client_secret").and_then(client_secret),
    ];
    one_of(
        &section,
        "an Azure store has exactly one login",
        "Write managed_identity = {}, workload_identity = {}, or client_secret = { tenant = …, client = …, secret = \
         \"file:…\" }",
        &["managed_identity", "workload_identity", "client_secret"],
    );
    section.finish();
    Some(Store::Azure(AzureStore {
        address: address?.value,
        authority: authority.map(|found| found.value),
        reach,
        danger_any_resource: any.is_some_and(|found| found.value),
        login: logins.into_iter().flatten().next()?,
    }))
}

fn managed_identity(section: Section<'_>) -> AzureLogin {
    let client = client(&section);
    section.finish();
    AzureLogin::ManagedIdentity { client }
}

fn workload_identity(section: Section<'_>) -> AzureLogin {
    let tenant = section.text("tenant", "the id of a tenant").map(|found| found.value);
    let client = client(&section);
    let token = section.path("token").map(|found| found.value);
    section.finish();
    AzureLogin::WorkloadIdentity { tenant, client, token }
}

fn client_secret(section: Section<'_>) -> Option<AzureLogin> {
    let tenant = section.required("tenant", "the id of a tenant");
    let client = section.required("client", "the id of an application");
    let secret = required_source(&section, "secret");
    section.finish();
    Some(AzureLogin::ClientSecret { tenant: tenant?.value, client: client?.value, secret: secret? })
}

fn client(section: &Section<'_>) -> Option<String> {
    section.text("client", "the id of an application").map(|found| found.value)
}

fn gcp(section: Section<'_>, everywhere: Option<&ForwardProxy>) -> Option<Store> {
    let project = section.required("project", "the id of a project");
    let credentials = secret_source(&section, "credentials");
    let (address, reach) = (endpoint(&section), reach(&section, everywhere));
    section.finish();
    let credentials = credentials.map(|found| found.value);
    Some(Store::Gcp(GcpStore { project: project?.value, credentials, address, reach }))
}

fn endpoint(section: &Section<'_>) -> Option<String> {
    let address = section.parsed("address", "https://HOST:PORT, or http:// on a loopback address", origin);
    address.map(|found| found.value)
}

fn reach(section: &Section<'_>, everywhere: Option<&ForwardProxy>) -> Reach {
    let ca = section.path("ca").map(|found| found.value);
    Reach { ca, proxy: forward_proxy::of_one(section, everywhere) }
}

fn one_of(section: &Section<'_>, what: &str, remedy: &str, keys: &[&str]) {
    if keys.iter().filter(|key| section.has(key)).count() != 1 {
        section.error(what, remedy);
    }
}

/// Only scheme, host and port; without TLS only on a loopback address.
fn origin(text: &str) -> Option<String> {
    let uri = text.parse::<http::Uri>().ok()?;
    let host = uri.host().unwrap_or_default();
    let local = forward_proxy::is_here(host);
    let rooted = matches!(uri.path(), "" | "/") && uri.query().is_none();
    // A user in front of the host would be a secret in this file.
    let plain = !text.contains('@') && !host.is_empty();
    let scheme = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => local,
        _ => false,
    };
    (rooted && plain && scheme).then(|| text.trim_end_matches('/').to_owned())
}
