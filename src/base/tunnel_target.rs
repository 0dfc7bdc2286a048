//! [`TunnelTarget`]: a host and a port that the proxy way in may open a tunnel to.

/// `HOST:PORT`, or `*.DOMAIN:PORT` for every name below a whole domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TunnelTarget {
    /// In small letters; without the `*.`.
    host: String,
    port: u16,
    below: bool,
}

impl TunnelTarget {
    /// Reads a target. A `*` counts nowhere but before a whole domain: `*.com` and `sfc-*.example.com` would open more
    /// than anybody means.
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = Self::split(text)?;
        let (below, name) = match host.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, host.as_str()),
        };
        let is_ipv6 = name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inner| !below && inner.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = is_ipv6
            || !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        let whole = !below || name.split('.').filter(|label| !label.is_empty()).count() >= 2;
        (is_name && whole).then(|| Self { host: name.to_owned(), port, below })
    }

    /// An exact one.
    pub fn exact(host: &str, port: u16) -> Option<Self> {
        Self::parse(&format!("{host}:{port}")).filter(|target| !target.below)
    }

    /// Splits `HOST:PORT`, as a CONNECT and a list of targets have it; the host in small letters, without the dot of
    /// the root. An IPv6 address has brackets (RFC 3986, section 3.2.2), which stay.
    pub fn split(text: &str) -> Option<(String, u16)> {
        let (host, port) = text.rsplit_once(':')?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || host.is_empty() || (host.contains(':') && !bracketed) {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        Some((host, port.parse().ok().filter(|port| *port != 0)?))
    }

    /// Whether it means this host and port, of [`TunnelTarget::split`].
    pub fn is(&self, host: &str, port: u16) -> bool {
        let fits = match self.below {
            true => {
                host.strip_suffix(self.host.as_str()).is_some_and(|before| before.len() > 1 && before.ends_with('.'))
            }
            false => host == self.host,
        };
        port == self.port && fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_exact_or_a_whole_domain() {
        let is = |target: &str, asked: &str| {
            let (host, port) = TunnelTarget::split(asked).unwrap();
            TunnelTarget::parse(target).unwrap().is(&host, port)
        };
        for (target, asked, fits) in [
            ("stage.s3.amazonaws.com:443", "stage.s3.amazonaws.com:443", true),
            ("stage.s3.amazonaws.com:443", "STAGE.S3.amazonaws.com.:443", true),
            ("stage.s3.amazonaws.com:443", "stage.s3.amazonaws.com:80", false),
            ("stage.s3.amazonaws.com:443", "x.stage.s3.amazonaws.com:443", false),
            ("*.blob.core.windows.net:443", "a.blob.core.windows.net:443", true),
            ("*.blob.core.windows.net:443", "a.b.blob.core.windows.net:443", true),
            ("*.blob.core.windows.net:443", "blob.core.windows.net:443", false),
            ("*.blob.core.windows.net:443", ".blob.core.windows.net:443", false),
            ("*.blob.core.windows.net:443", "evilblob.core.windows.net:443", false),
            ("10.0.0.5:8443", "10.0.0.5:8443", true),
            ("[fd00::1]:443", "[FD00::1]:443", true),
            ("[fd00::1]:443", "[fd00::2]:443", false),
        ] {
            assert_eq!(is(target, asked), fits, "{target} {asked}");
        }
        for bad in [
            "stage",
            "stage:",
            "stage:0",
            "stage:99999",
            ":443",
            "*:443",
            "*.com:443",
            "a.*.com:443",
            "sfc-*.x.com:443",
            "https://stage:443",
            "stage:443/",
            "stage:+443",
            "a b:443",
            "::1:443",
            "*.:443",
        ] {
            assert!(TunnelTarget::parse(bad).is_none(), "{bad}");
        }
        assert!(TunnelTarget::split("[::1]:443").is_some());
    }
}
