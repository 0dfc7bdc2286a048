//! The accounts of the gates that this machine has as services: each is on the access lists of what it needs, and no
//! other service is.

use windows_registry::LOCAL_MACHINE;

use super::account::{Account, service_sid};

/// Where the service manager has its services (Win32, "Service entries in the registry").
const SERVICES: &str = r"SYSTEM\CurrentControlSet\Services";
/// What the command line of a gate's service has, behind the program.
pub const RUNS: [&str; 2] = ["service", "run"];

/// The accounts of all gates, by SID: that of the service itself, and the one that it runs as.
pub fn gate_accounts() -> Vec<String> {
    let Ok(services) = LOCAL_MACHINE.open(SERVICES) else { return Vec::new() };
    let Ok(names) = services.keys() else { return Vec::new() };
    let mut accounts = Vec::new();
    for name in names {
        let Ok(service) = services.open(&name) else { continue };
        if !service.get_string("ImagePath").is_ok_and(|command| is_gate(&command)) {
            continue;
        }
        accounts.push(service_sid(&name));
        let account = service.get_string("ObjectName").ok().and_then(|name| Account::named(&name).ok());
        accounts.extend(account.map(|account| account.sid));
    }
    accounts
}

/// Whether a service's command line is that of a gate.
fn is_gate(command: &str) -> bool {
    let [verb, what] = RUNS;
    command.to_ascii_lowercase().contains("patgate") && command.contains(&format!(" {verb} {what} "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_is_told_from_other_services() {
        assert!(is_gate(r#""C:\Program Files\patgate\patgate.exe" service run --config C:\x\patgate.toml --name bi"#));
        assert!(!is_gate(r"C:\Windows\System32\svchost.exe -k netsvcs") && !is_gate(r"C:\patgate\other.exe service"));
        assert!(!gate_accounts().contains(&service_sid("RpcSs")));
    }
}
