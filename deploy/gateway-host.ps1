#Requires -Version 5.1
#Requires -RunAsAdministrator
<#
.SYNOPSIS
Sets patgate up on a gateway host: Power BI on-premises data gateway, or Tableau Bridge.

.DESCRIPTION
Installs the program, asks for the PAT once, proves each step against Snowflake, makes a certificate, makes this machine
trust it, runs the gate as a service with an account of its own, and prints the client key and what to type into the tool.
It stops at the first step that fails, says what to do, and can be run again: what is there already stays as it is.
deploy/guides/gateway-host.md tells the same for hands.

.EXAMPLE
.\gateway-host.ps1 -Account myorg-prod.snowflakecomputing.com -User POWERBI_SERVICE -Gate gate.example.com
#>
[CmdletBinding()]
param(
    # The account's host.
    [Parameter(Mandatory)] [string] $Account,
    # The service user in Snowflake.
    [Parameter(Mandatory)] [string] $User,
    # The name that reports have as their server. It leads to this machine, on this machine alone.
    [Parameter(Mandatory)] [string] $Gate,
    # The first client of the gate.
    [string] $Client = 'powerbi-gateway',
    # The tool: powerbi-gateway, powerbi, tableau, excel or odbc.
    [string] $Tool = 'powerbi-gateway',
    # The port of the gate. Not every tool takes a port behind the name, and 443 needs none.
    [int] $Port = 443,
    # Where the gate takes commands.
    [string] $Admin = '127.0.0.1:8444',
    # The service's name; a second gate has another one, another directory, another port and another -Admin.
    [string] $Name = 'patgate',
    # Where the program goes.
    [string] $Program = (Join-Path $Env:ProgramFiles 'patgate'),
    # Where configuration, certificate, secrets and state go.
    [string] $Directory = (Join-Path $Env:ProgramData 'patgate')
)

Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

function Step([string] $Text) { Write-Host "== $Text" -ForegroundColor Cyan }

# Runs a program, and stops where it fails: what it says is shown.
function Invoke-Program([string] $File, [string[]] $Words) {
    & $File @Words
    if ($LASTEXITCODE -ne 0) { throw "$(Split-Path -Leaf $File) $($Words[0..1] -join ' ') ended with $LASTEXITCODE" }
}

Step "The program, in $Program"
$patgate = Join-Path $Program 'patgate.exe'
$new = Join-Path $PSScriptRoot 'patgate.exe'
if (-not (Test-Path $new)) { $new = Join-Path (Split-Path $PSScriptRoot) 'patgate.exe' }
New-Item -ItemType Directory -Force $Program | Out-Null
if (-not (Test-Path $patgate)) {
    if (-not (Test-Path $new)) { throw "patgate.exe is neither beside this script nor in $Program" }
    Copy-Item $new $patgate
} elseif ((Test-Path $new) -and (Get-FileHash $new).Hash -ne (Get-FileHash $patgate).Hash) {
    Write-Warning "$patgate is another version and stays: deploy/guides/gateway-host.md says how to upgrade"
}
# Later prompts find it too.
$environment = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SYSTEM\CurrentControlSet\Control\Session Manager\Environment', $true)
$paths = $environment.GetValue('Path', '', [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
if (($paths -split ';') -notcontains $Program) {
    $environment.SetValue('Path', "$paths;$Program", [Microsoft.Win32.RegistryValueKind]::ExpandString)
    # Only this call tells programs that run, such as the shell of new prompts; it changes nothing.
    [Environment]::SetEnvironmentVariable('PATGATE_PATH_WAS_SET', $null, 'Machine')
}
$environment.Close()
if (($Env:Path -split ';') -notcontains $Program) { $Env:Path = "$Env:Path;$Program" }

Step "The directory $Directory, for administrators, the system and the service alone"
# Everybody may make directories there; who owns one could take what is put into it.
$owners = 'S-1-5-18', 'S-1-5-32-544', [Security.Principal.WindowsIdentity]::GetCurrent().User.Value
foreach ($there in @($Directory, (Join-Path $Directory 'patgate.toml'), (Join-Path $Directory 'secrets')) | Where-Object { Test-Path $_ }) {
    if ((Get-Item -Force $there).Attributes -band [IO.FileAttributes]::ReparsePoint) { throw "$there is a link: look at it, and remove it" }
    $owner = (Get-Acl $there).GetOwner([Security.Principal.SecurityIdentifier]).Value
    if ($owners -notcontains $owner) { throw "$there is there and belongs to ${owner}: look at it, and remove it" }
}
New-Item -ItemType Directory -Force $Directory | Out-Null
# By SID, since the names differ by language: the system and the administrators.
Invoke-Program icacls.exe @($Directory, '/inheritance:r', '/grant:r', '*S-1-5-18:(OI)(CI)F', '*S-1-5-32-544:(OI)(CI)F', '/Q')

$configuration = Join-Path $Directory 'patgate.toml'
$secrets = Join-Path $Directory 'secrets'
$pat = Join-Path $secrets 'pat'
$typed = $false
if (Test-Path $configuration) {
    Step "$configuration is there already, and stays"
} else {
    if (-not (Test-Path $pat)) {
        Step "The PAT of $User"
        New-Item -ItemType Directory -Force $secrets | Out-Null
        $token = Read-Host -AsSecureString 'Paste the programmatic access token (it is not shown)'
        if ($token.Length -eq 0) { throw 'nothing was pasted' }
        $plain = [Runtime.InteropServices.Marshal]::SecureStringToBSTR($token)
        try {
            [IO.File]::WriteAllText($pat, [Runtime.InteropServices.Marshal]::PtrToStringBSTR($plain))
        } finally {
            [Runtime.InteropServices.Marshal]::ZeroFreeBSTR($plain)
        }
        $typed = $true
    }
    Step 'The configuration: each part is proven, up to a login at Snowflake. The client key is shown once: note it'
    try {
        Invoke-Program $patgate @('init', '--dir', $Directory, '--account', $Account, '--user', $User, '--store', "file=$secrets",
            '--pat', 'pat', '--client', $Client, '--host', $Gate, '--listen', '127.0.0.1', '--port', "$Port", '--admin', $Admin,
            '--tool', $Tool, '--yes')
    } catch {
        # A wrong one must not be tried again unasked: five bad logins lock the user.
        if ($typed) { Remove-Item $pat }
        throw
    }
}

Step 'This machine trusts the gate''s certificate'
$ca = Join-Path $Directory 'tls\ca.pem'
if (Test-Path $ca) { Import-Certificate -FilePath $ca -CertStoreLocation Cert:\LocalMachine\Root | Out-Null }

Step "$Gate is this machine, for programs on it"
$hosts = Join-Path $Env:SystemRoot 'System32\drivers\etc\hosts'
$lines = Select-String -Path $hosts -Pattern "^\s*([0-9a-fA-F.:]+)\s+([^#]*\s)?$([regex]::Escape($Gate))(\s|$)"
$elsewhere = @($lines | Where-Object { $_.Matches[0].Groups[1].Value -ne '127.0.0.1' })
if ($elsewhere.Count -gt 0) { throw "$hosts leads $Gate elsewhere: $($elsewhere[0].Line.Trim()). Remove that line" }
if (-not $lines) { Add-Content -Path $hosts -Value "`r`n127.0.0.1 $Gate" -Encoding ASCII }

Step "The service $Name"
if (-not (Get-Service $Name -ErrorAction SilentlyContinue)) {
    Invoke-Program $patgate @('service', 'install', '--name', $Name, '--config', $configuration)
}
if ((Get-Service $Name).Status -ne 'Running') { Invoke-Program $patgate @('service', 'start', '--name', $Name) }

Step "What to type into the tool. The client key was shown by the set-up; lost: patgate client new $Client, and its line into $configuration"
Invoke-Program $patgate @('client', 'setup', $Client, '--for', $Tool, '--config', $configuration)

Step 'Everything at once, up to a statement at Snowflake'
Invoke-Program $patgate @('doctor', '--config', $configuration)
