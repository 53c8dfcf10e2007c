#Requires -Version 5.1
<#
.SYNOPSIS
    Do what a container network plug-in does for a pod: a network and an endpoint of the host network service, with an address that works.

.DESCRIPTION
    The network is of type NAT, which has a switch of its own and leaves the machine's adapter, and so this connection, alone. The module
    HostNetworkingService lists and removes networks and endpoints; making them is a call of vmcompute.dll with a method, a path and JSON.
    https://learn.microsoft.com/powershell/module/hostnetworkingservice/
    https://github.com/microsoft/SDN/blob/master/Kubernetes/windows/hns.psm1
    https://learn.microsoft.com/virtualization/windowscontainers/container-networking/architecture

.NOTES
    Input: subnet (a /24 that is not in use). Removes what it made. Every check is told; one that was not reached has failed.
#>
[CmdletBinding()]
param()
Set-StrictMode -Version Latest
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
Import-Module -Name (Join-Path -Path $PSScriptRoot -ChildPath 'WinVhd.psm1') -Force

$script:NetworkName = 'winvhd-networking-test'
$script:Checks = New-Object -TypeName 'System.Collections.Generic.List[object]'

function Get-HostNetworkMethod {
    # The function HNSCall of vmcompute.dll, bound without compiling anything.
    [CmdletBinding()]
    [OutputType([System.Reflection.MethodInfo])]
    param()
    $name = New-Object -TypeName 'System.Reflection.AssemblyName' -ArgumentList 'WinVhdVmCompute'
    $assembly = [System.AppDomain]::CurrentDomain.DefineDynamicAssembly($name, [System.Reflection.Emit.AssemblyBuilderAccess]::Run)
    $type = $assembly.DefineDynamicModule('WinVhdVmCompute').DefineType('VmCompute')
    $parameters = [type[]]@([string], [string], [string], [string].MakeByRefType())
    $method = $type.DefinePInvokeMethod(
        'HNSCall',
        'vmcompute.dll',
        [System.Reflection.MethodAttributes]'Public, Static, PinvokeImpl',
        [System.Reflection.CallingConventions]::Standard,
        [void],
        $parameters,
        [System.Runtime.InteropServices.CallingConvention]::Winapi,
        [System.Runtime.InteropServices.CharSet]::Unicode
    )
    $method.SetImplementationFlags([System.Reflection.MethodImplAttributes]::PreserveSig)
    return $type.CreateType().GetMethod('HNSCall')
}

function Invoke-HostNetworkRequest {
    # What the host network service answers; its refusal ends the check.
    [CmdletBinding()]
    [OutputType([psobject])]
    param(
        [Parameter(Mandatory = $true)][System.Reflection.MethodInfo]$Method,
        [Parameter(Mandatory = $true)][string]$Path,
        [Parameter(Mandatory = $true)][System.Collections.IDictionary]$Body
    )
    # A plain string: reflection does not unwrap what a command puts out.
    $arguments = [object[]]@('POST', $Path, [string](ConvertTo-Json -InputObject $Body -Compress -Depth 6), $null)
    $null = $Method.Invoke($null, $arguments)
    $answer = ConvertFrom-Json -InputObject ([string]$arguments[3])
    if (-not $answer.Success) {
        throw (New-StageFailure -Code 'hns-refused' -Message "the host network service refused ${Path}: $($answer.Error)")
    }
    return $answer.Output
}

function Invoke-Check {
    # One check: what the action gives back, and a line in the result. After a failed one nothing more is tried.
    [CmdletBinding()]
    param(
        [Parameter(Mandatory = $true)][string]$Name,
        [Parameter(Mandatory = $true)][scriptblock]$Action
    )
    $clock = [System.Diagnostics.Stopwatch]::StartNew()
    $passed = $false
    $problem = ''
    $given = $null
    $failed = @($script:Checks | Where-Object -FilterScript { -not $_.passed })
    if ($failed.Count -gt 0) {
        $problem = "not reached: $($failed[0].name) failed"
    }
    else {
        try {
            $given = & $Action
            $passed = $true
        }
        catch {
            $cause = $_.Exception.GetBaseException()
            $problem = $cause.Message
            if ([string]::IsNullOrWhiteSpace($problem)) {
                $problem = $cause.GetType().Name
            }
        }
    }
    $script:Checks.Add([ordered]@{ name = $Name; passed = $passed; seconds = [Math]::Round($clock.Elapsed.TotalSeconds, 3); error = $problem })
    Write-StageProgress -Message $Name -Done $script:Checks.Count -Total 6
    return $given
}

function Wait-Address {
    # Wait until an address is in use on this machine; its absence after 30 s ends the check.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][string]$Address)
    for ($attempt = 0; $attempt -lt 60; $attempt++) {
        $found = @(Get-NetIPAddress -IPAddress $Address -ErrorAction SilentlyContinue | Where-Object -FilterScript { $_.AddressState -eq 'Preferred' })
        if ($found.Count -gt 0) {
            return
        }
        Start-Sleep -Milliseconds 500
    }
    throw (New-StageFailure -Code 'no-address' -Message "$Address did not come up within 30 s")
}

function Remove-TestNetwork {
    # Remove the network and with it its endpoints; fine when there is none.
    [CmdletBinding()]
    param()
    foreach ($network in @(Get-HnsNetwork | Where-Object -FilterScript { $_.Name -eq $script:NetworkName })) {
        foreach ($endpoint in @(Get-HnsEndpoint | Where-Object -FilterScript { $_.VirtualNetwork -eq $network.ID })) {
            $null = Remove-HnsEndpoint -InputObjects $endpoint
        }
        $null = Remove-HnsNetwork -InputObjects $network
    }
}

function Invoke-NetworkCheck {
    # All checks, in the order in which a plug-in works.
    [CmdletBinding()]
    param([Parameter(Mandatory = $true)][string]$Subnet)
    $prefix = $Subnet -replace '0/24$', ''
    $method = Invoke-Check -Name 'the host network service runs' -Action {
        Start-Service -Name 'hns'
        Remove-TestNetwork
        Get-HostNetworkMethod
    }
    $network = Invoke-Check -Name 'a network is made' -Action {
        $subnets = @(@{ AddressPrefix = $Subnet; GatewayAddress = "${prefix}1" })
        Invoke-HostNetworkRequest -Method $method -Path '/networks' -Body @{ Name = $script:NetworkName; Type = 'nat'; Subnets = $subnets }
    }
    $null = Invoke-Check -Name 'its gateway has an address' -Action { Wait-Address -Address "${prefix}1" }
    $endpoint = Invoke-Check -Name 'an endpoint is made' -Action {
        Invoke-HostNetworkRequest -Method $method -Path '/endpoints' -Body @{ VirtualNetwork = [string]$network.ID; IPAddress = "${prefix}10" }
    }
    $null = Invoke-Check -Name 'the endpoint has an address' -Action {
        $body = @{ SystemType = 'Host'; CompartmentId = 1 }
        $null = Invoke-HostNetworkRequest -Method $method -Path "/endpoints/$($endpoint.ID)/attach" -Body $body
        Wait-Address -Address "${prefix}10"
    }
    $null = Invoke-Check -Name 'names resolve' -Action {
        if (@(Resolve-DnsName -Name 'localhost' -Type A -ErrorAction Stop).Count -eq 0) {
            throw (New-StageFailure -Code 'no-name' -Message 'localhost has no address')
        }
    }
}

Invoke-Stage -Body {
    $stageInput = Read-StageInput
    try {
        Invoke-NetworkCheck -Subnet $stageInput.subnet
    }
    finally {
        if (@(Get-Service -Name 'hns' -ErrorAction SilentlyContinue).Count -gt 0) {
            Remove-TestNetwork
        }
    }
    $checks = @($script:Checks | ForEach-Object -Process { [ordered]@{ name = $_.name; passed = $_.passed; seconds = $_.seconds; error = $_.error } })
    Write-StageResult -Result ([ordered]@{ changed = $false; reboot_required = $false; checks = $checks })
}
