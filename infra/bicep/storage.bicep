// The storage account of all builds: the content-addressed cache of artifacts, and the results.

targetScope = 'resourceGroup'

@description('Region of the account.')
param location string

@description('Globally unique name of the account.')
param storageAccountName string

@description('Object id of the identity that builds.')
param principalId string

@description('Kind of that identity.')
param principalType string

@description('Addresses or CIDR ranges that may reach the account.')
param allowedAddresses array

@description('Subnets that may reach the account through a service endpoint.')
param allowedSubnetIds array

@description('What happens to everybody else.')
param defaultAction string

@description('Days after which results of builds are deleted; 0 keeps them.')
param keepBuildsDays int

@description('Days after its last change after which a cached artifact is deleted; 0 keeps them.')
param keepCacheDays int

@description('Tags of the account.')
param tags object

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var blobDelegator = 'db58b8e5-c6ad-4a2a-8342-4190687cbf4a'

resource account 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageAccountName
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: 'Standard_LRS'
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    // No account keys: SAS are signed with user delegation keys, which end with the identity's rights.
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: defaultAction
      ipRules: [
        for address in allowedAddresses: {
          value: address
          action: 'Allow'
        }
      ]
      virtualNetworkRules: [
        for subnetId in allowedSubnetIds: {
          id: subnetId
          action: 'Allow'
        }
      ]
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = [
  for name in ['cache', 'builds']: {
    parent: blobs
    name: name
    properties: {
      publicAccess: 'None'
    }
  }
]

var cacheRule = {
  name: 'expire-cache'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['cache/']
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: keepCacheDays
        }
      }
    }
  }
}

// Lifecycle rules reach block blobs only: the VHDs (page blobs) are deleted by the reaper flow.
var buildsRule = {
  name: 'expire-builds'
  enabled: true
  type: 'Lifecycle'
  definition: {
    filters: {
      blobTypes: ['blockBlob']
      prefixMatch: ['builds/']
    }
    actions: {
      baseBlob: {
        delete: {
          daysAfterModificationGreaterThan: keepBuildsDays
        }
      }
    }
  }
}

var rules = concat(keepCacheDays > 0 ? [cacheRule] : [], keepBuildsDays > 0 ? [buildsRule] : [])

resource lifecycle 'Microsoft.Storage/storageAccounts/managementPolicies@2023-05-01' = if (!empty(rules)) {
  parent: account
  name: 'default'
  properties: {
    policy: {
      rules: rules
    }
  }
}

resource dataRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [blobDataContributor, blobDelegator]: {
    name: guid(account.id, principalId, role)
    scope: account
    properties: {
      principalId: principalId
      principalType: principalType
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

@description('Address of the blob service, without a slash at its end.')
output blobEndpoint string = 'https://${account.name}.blob.${environment().suffixes.storage}'
