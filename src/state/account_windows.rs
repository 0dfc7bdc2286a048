//! Accounts of Windows: users and services, by SID and by name.
#![expect(unsafe_code, reason = "no safe crate has the calls that name the account of a process or of a service")]

use std::ffi::c_void;
use std::io;
use std::ptr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use windows_sys::Win32::Foundation::{CloseHandle, ERROR_INSUFFICIENT_BUFFER, HANDLE, LocalFree};
use windows_sys::Win32::Security::Authorization::{ConvertSidToStringSidW, ConvertStringSidToSidW};
use windows_sys::Win32::Security::{
    GetTokenInformation, LookupAccountNameW, LookupAccountSidW, PSID, TOKEN_QUERY, TOKEN_USER, TokenUser,
};
use windows_sys::Win32::System::Services::{
    CloseServiceHandle, ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW, OpenServiceW,
    QUERY_SERVICE_CONFIGW, QueryServiceConfigW, SC_ENUM_PROCESS_INFO, SC_HANDLE, SC_MANAGER_CONNECT,
    SC_MANAGER_ENUMERATE_SERVICE, SERVICE_ACTIVE, SERVICE_QUERY_CONFIG, SERVICE_WIN32,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION,
};

/// The account of the system itself (Well-known SIDs, Win32 documentation).
pub const SYSTEM: &str = "S-1-5-18";
/// The group of the machine's administrators.
pub const ADMINISTRATORS: &str = "S-1-5-32-544";

/// A user, a group or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its SID, such as `S-1-5-18`.
    pub sid: String,
    /// `DOMAIN\NAME`, such as `NT SERVICE\PBIEgwService`, where the system knows it.
    pub name: Option<String>,
}

impl Account {
    /// The account that this process runs as.
    ///
    /// # Errors
    /// The operating system's error.
    pub fn own() -> io::Result<Self> {
        // SAFETY: the handle of the current process is a constant that needs no closing.
        token_user(unsafe { GetCurrentProcess() })
    }

    /// The account of a process. A process of another account may show its own to nobody but administrators; where it
    /// is a service, the service manager names the account.
    pub fn of_process(id: u32) -> Option<Self> {
        // SAFETY: no pointer is passed; the handle is closed below.
        let process = Handle(unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, id) });
        let shown = if process.0.is_null() { None } else { token_user(process.0).ok() };
        shown.or_else(|| Self::named(&service_account(id)?).ok())
    }

    /// The account with this name: `NAME`, `DOMAIN\NAME` or `NT SERVICE\NAME`.
    ///
    /// # Errors
    /// The operating system's error, if there is none.
    pub fn named(name: &str) -> io::Result<Self> {
        // What a service's configuration says where the account is the system's own (Win32, QUERY_SERVICE_CONFIGW).
        if name.eq_ignore_ascii_case("LocalSystem") {
            return Ok(Self::known(SYSTEM));
        }
        let local = name.strip_prefix(r".\").unwrap_or(name);
        let (wide, mut kind) = (wide(local), 0);
        let (mut size, mut domain_size) = (0, 0);
        // SAFETY: a first call with buffers of no length asks for the lengths.
        unsafe {
            LookupAccountNameW(
                ptr::null(),
                wide.as_ptr(),
                ptr::null_mut(),
                &mut size,
                ptr::null_mut(),
                &mut domain_size,
                &mut kind,
            )
        };
        let mut sid = aligned(size);
        let mut domain = vec![0_u16; domain_size as usize];
        // SAFETY: both buffers have the length that the system asked for.
        let found = unsafe {
            LookupAccountNameW(
                ptr::null(),
                wide.as_ptr(),
                sid.as_mut_ptr().cast(),
                &mut size,
                domain.as_mut_ptr(),
                &mut domain_size,
                &mut kind,
            )
        };
        if found == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has filled the buffer with a SID.
        unsafe { Self::of_sid(sid.as_mut_ptr().cast()) }
    }

    /// One by its SID; the name is looked up.
    pub fn known(sid: &str) -> Self {
        // SAFETY: the SID is valid while it lives.
        let name = Allocated::sid(sid).ok().and_then(|read| unsafe { name_of(read.0) });
        Self { sid: sid.to_owned(), name }
    }

    /// One by its SID in the system's form.
    ///
    /// # Safety
    /// The pointer is to a valid SID.
    ///
    /// # Errors
    /// The operating system's error.
    pub(super) unsafe fn of_sid(sid: PSID) -> io::Result<Self> {
        let mut text = ptr::null_mut();
        // SAFETY: the caller gives a valid SID; the system allocates the text, which is freed below.
        unsafe {
            if ConvertSidToStringSidW(sid, &mut text) == 0 {
                return Err(io::Error::last_os_error());
            }
            let _freed = Allocated(text.cast());
            Ok(Self { sid: from_wide(text), name: name_of(sid) })
        }
    }

    /// Its name, else its SID.
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.sid)
    }
}

/// The SID of a service's own account, which exists before the service does: the SHA-1 of its name in capital letters
/// (Win32, service SIDs; `sc showsid` prints the same).
pub fn service_sid(name: &str) -> String {
    let units: Vec<u8> = name.to_uppercase().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &units);
    let parts = hash.as_ref().chunks_exact(4).map(|four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    parts.fold("S-1-5-80".to_owned(), |sid, part| format!("{sid}-{part}"))
}

/// What the system allocated; it is freed when it is dropped.
pub(super) struct Allocated(pub(super) *mut c_void);

impl Allocated {
    /// A SID in the system's form.
    pub(super) fn sid(text: &str) -> io::Result<Self> {
        let mut sid: PSID = ptr::null_mut();
        // SAFETY: the text ends with a zero; the system allocates the SID.
        match unsafe { ConvertStringSidToSidW(wide(text).as_ptr(), &mut sid) } {
            0 => Err(io::Error::last_os_error()),
            _read => Ok(Self(sid)),
        }
    }
}

impl Drop for Allocated {
    fn drop(&mut self) {
        // SAFETY: the system allocated it, and nobody else frees it.
        unsafe { LocalFree(self.0) };
    }
}

/// A text as Windows has it, with the zero at its end.
pub fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

/// A handle that is closed when it is dropped.
struct Handle(HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is open and nobody else's.
            unsafe { CloseHandle(self.0) };
        }
    }
}

/// The same for the service manager's.
struct Service(SC_HANDLE);

impl Drop for Service {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the handle is open and nobody else's.
            unsafe { CloseServiceHandle(self.0) };
        }
    }
}

/// A buffer of at least so many bytes for a structure that holds pointers.
pub(super) fn aligned(bytes: u32) -> Vec<u64> {
    vec![0; (bytes as usize).div_ceil(8)]
}

fn token_user(process: HANDLE) -> io::Result<Account> {
    let mut token = ptr::null_mut();
    // SAFETY: the process is open; the token's handle is closed by `Handle`.
    if unsafe { OpenProcessToken(process, TOKEN_QUERY, &mut token) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let token = Handle(token);
    let mut size = 0;
    // SAFETY: a first call without a buffer asks for its length.
    unsafe { GetTokenInformation(token.0, TokenUser, ptr::null_mut(), 0, &mut size) };
    let mut user = aligned(size);
    // SAFETY: the buffer has the length that the system asked for, and is aligned for pointers.
    if unsafe { GetTokenInformation(token.0, TokenUser, user.as_mut_ptr().cast::<c_void>(), size, &mut size) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has filled the buffer with a TOKEN_USER, whose SID lies in the same buffer.
    unsafe { Account::of_sid((*user.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// `DOMAIN\NAME` of a SID.
///
/// # Safety
/// The pointer is to a valid SID.
unsafe fn name_of(sid: PSID) -> Option<String> {
    // Longer than any account's name (256) and domain's (255).
    let (mut name, mut domain, mut kind) = ([0_u16; 512], [0_u16; 512], 0);
    let (mut name_size, mut domain_size) = (512, 512);
    // SAFETY: the caller gives a valid SID; both buffers have the lengths that are passed.
    let found = unsafe {
        LookupAccountSidW(
            ptr::null(),
            sid,
            name.as_mut_ptr(),
            &mut name_size,
            domain.as_mut_ptr(),
            &mut domain_size,
            &mut kind,
        )
    };
    let text = |buffer: &[u16], size: u32| String::from_utf16_lossy(&buffer[..size as usize]);
    (found != 0).then(|| match text(&domain, domain_size) {
        none if none.is_empty() => text(&name, name_size),
        domain => format!(r"{domain}\{}", text(&name, name_size)),
    })
}

/// A text that the system gave, up to its zero.
///
/// # Safety
/// The pointer is null, or to a text that ends with a zero.
unsafe fn from_wide(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the text ends with a zero, up to which every unit may be read.
    unsafe {
        let length = (0..).take_while(|at| *text.add(*at) != 0).count();
        String::from_utf16_lossy(std::slice::from_raw_parts(text, length))
    }
}

/// The account of the service that runs in this process.
fn service_account(process: u32) -> Option<String> {
    // SAFETY: the two names are null, which means this machine and its active database.
    let manager =
        Service(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT | SC_MANAGER_ENUMERATE_SERVICE) });
    if manager.0.is_null() {
        return None;
    }
    let (mut size, mut count) = (0, 0);
    let mut buffer: Vec<u64> = Vec::new();
    // The list may grow between the question for its length and that for itself.
    for _ in 0..4 {
        let (given, mut resume) = (u32::try_from(buffer.len() * 8).ok()?, 0);
        // SAFETY: the buffer has the length that is passed, and is aligned for pointers.
        let done = unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_ACTIVE,
                buffer.as_mut_ptr().cast(),
                given,
                &mut size,
                &mut count,
                &mut resume,
                ptr::null(),
            )
        };
        if done != 0 {
            break;
        }
        count = 0;
        buffer = aligned(given + size + 4096);
    }
    // SAFETY: the last call has filled the buffer with `count` of these, whose names lie in the same buffer.
    let services =
        unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast::<ENUM_SERVICE_STATUS_PROCESSW>(), count as usize) };
    let found = services.iter().find(|one| one.ServiceStatusProcess.dwProcessId == process)?;
    // SAFETY: the name lies in the buffer, and ends with a zero.
    let service = Service(unsafe { OpenServiceW(manager.0, found.lpServiceName, SERVICE_QUERY_CONFIG) });
    if service.0.is_null() {
        return None;
    }
    let mut size = 0;
    // SAFETY: a first call without a buffer asks for its length.
    unsafe { QueryServiceConfigW(service.0, ptr::null_mut(), 0, &mut size) };
    if io::Error::last_os_error().raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER as i32) {
        return None;
    }
    let mut config = aligned(size);
    let read = config.as_mut_ptr().cast::<QUERY_SERVICE_CONFIGW>();
    // SAFETY: the buffer has the length that the system asked for; the account's name lies in it.
    unsafe {
        (QueryServiceConfigW(service.0, read, size, &mut size) != 0).then(|| from_wide((*read).lpServiceStartName))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_an_account_that_its_number_and_its_name_lead_to() {
        let own = Account::own().unwrap();
        assert!(own.sid.starts_with("S-1-5-"), "{own:?}");
        assert_eq!(Account::of_process(std::process::id()).as_ref(), Some(&own));
        let name = own.name.clone().unwrap();
        assert_eq!(Account::named(&name).unwrap().sid, own.sid);
        assert_eq!(Account::known(&own.sid), own);
    }

    #[test]
    fn a_service_has_the_sid_that_windows_gives_it() {
        let wanted = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
        assert_eq!(service_sid("TrustedInstaller"), wanted);
    }

    #[test]
    fn well_known_accounts_have_names_and_strangers_none() {
        assert_eq!(Account::named("LocalSystem").unwrap().sid, SYSTEM);
        assert!(Account::known(SYSTEM).name.is_some_and(|name| name.ends_with(r"\SYSTEM")));
        assert_eq!(Account::named("no such account here").map_err(|error| error.kind()).ok(), None);
        assert_eq!(Account::of_process(u32::MAX), None);
    }
}
