// What stands between builds: one resource group with the storage account that every build uses, and the rights of the identity that
// builds. Each build makes its own resource group (`<prefix>-<build id>`) and deletes it, so the identity needs rights on the
// subscription; they are a custom role that names exactly the operations of infra/azure.
//
//   az deployment sub create --location westus3 --template-file infra/bicep/main.bicep \
//     --parameters storageAccountName=contosowinvhd principalId=$(az ad sp show --id APP_ID --query id --output tsv)
//
// Before the first generation 2 build: `az feature register --namespace Microsoft.Compute --name UseStandardSecurityType`, since build VMs
// ask for securityType Standard (https://learn.microsoft.com/azure/virtual-machines/trusted-launch).

targetScope = 'subscription'

@description('Region of the standing resources; builds run in the region of their profile, best the same one.')
param location string = deployment().location

@description('Name of the resource group of the standing resources.')
@minLength(1)
@maxLength(90)
param resourceGroupName string = 'winvhd'

@description('Globally unique name of the storage account: 3 to 24 lower-case letters and digits.')
@minLength(3)
@maxLength(24)
param storageAccountName string

@description('Object id of the identity that builds: a managed identity, a service principal, or a person who tries it out.')
param principalId string

@description('Kind of that identity.')
@allowed(['ServicePrincipal', 'User', 'Group'])
param principalType string = 'ServicePrincipal'

@description('Addresses or CIDR ranges that may reach the storage account: where the flows run.')
param allowedAddresses array = []

@description('Subnets that may reach the storage account through a service endpoint.')
param allowedSubnetIds array = []

@description('Deny leaves the account to the addresses and subnets above. Build VMs read the cache from a public address of their own, which is not known before; Allow is therefore the default, and every read needs a SAS or a role.')
@allowed(['Allow', 'Deny'])
param storageDefaultAction string = 'Allow'

@description('Days after which results of builds are deleted; 0 keeps them.')
@minValue(0)
param keepBuildsDays int = 90

@description('Days after its last change after which a cached artifact is deleted and fetched anew when it is needed; 0 keeps them.')
@minValue(0)
param keepCacheDays int = 180

var tags = {
  'created-by': 'winvhd'
  scope: 'standing'
}

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: resourceGroupName
  location: location
  tags: tags
}

module storage 'storage.bicep' = {
  name: 'winvhd-storage'
  scope: group
  params: {
    location: location
    storageAccountName: storageAccountName
    principalId: principalId
    principalType: principalType
    allowedAddresses: allowedAddresses
    allowedSubnetIds: allowedSubnetIds
    defaultAction: storageDefaultAction
    keepBuildsDays: keepBuildsDays
    keepCacheDays: keepCacheDays
    tags: tags
  }
}

resource builder 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, 'winvhd-builder')
  properties: {
    roleName: 'winvhd builder (${subscription().subscriptionId})'
    description: 'Makes and deletes the resource groups of image builds and what is in them.'
    type: 'CustomRole'
    assignableScopes: [subscription().id]
    permissions: [
      {
        actions: [
          'Microsoft.Resources/subscriptions/resourceGroups/read'
          'Microsoft.Resources/subscriptions/resourceGroups/write'
          'Microsoft.Resources/subscriptions/resourceGroups/delete'
          'Microsoft.Resources/subscriptions/resourceGroups/resources/read'
          'Microsoft.Resources/subscriptions/resources/read'
          'Microsoft.Resources/subscriptions/operationResults/read'
          'Microsoft.Compute/register/action'
          'Microsoft.Compute/locations/*/read'
          'Microsoft.Compute/skus/read'
          'Microsoft.Compute/virtualMachines/*'
          'Microsoft.Compute/disks/*'
          'Microsoft.Compute/snapshots/*'
          'Microsoft.Compute/images/*'
          'Microsoft.Compute/galleries/*'
          'Microsoft.Network/register/action'
          'Microsoft.Network/locations/*/read'
          'Microsoft.Network/networkSecurityGroups/*'
          'Microsoft.Network/virtualNetworks/*'
          'Microsoft.Network/publicIPAddresses/*'
          'Microsoft.Network/networkInterfaces/*'
          // A managed image is made from a VHD in this account.
          'Microsoft.Storage/storageAccounts/read'
          'Microsoft.Storage/storageAccounts/listKeys/action'
        ]
        notActions: []
        dataActions: []
        notDataActions: []
      }
    ]
  }
}

resource building 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, principalId, builder.id)
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: builder.id
  }
}

@description('For the profile: storage.account.')
output storageAccount string = storageAccountName

@description('For the profile: storage.endpoint.')
output blobEndpoint string = storage.outputs.blobEndpoint

@description('For the profile: subscription_id.')
output subscriptionId string = subscription().subscriptionId
