package awserr

import "net/http"

// kind says how an error code looks on the wire.
type kind struct {
	status int
	// key is the member of the JSON body that carries the text. AWS is not
	// consistent, and recorded behaviour is kept to the letter.
	key string
	// modelled errors carry a "Type" member (User or Service) in their body.
	modelled bool
}

// kinds is the one table of AWS error codes.
var kinds = map[string]kind{
	// Lambda's modelled errors.
	"AliasLimitExceededException":                               {400, "message", true},
	"CallbackTimeoutException":                                  {400, "Message", true},
	"CapacityProviderLimitExceededException":                    {400, "message", true},
	"CodeArtifactUserDeletedException":                          {409, "message", true},
	"CodeArtifactUserFailedException":                           {409, "message", true},
	"CodeArtifactUserPendingException":                          {409, "message", true},
	"CodeSigningConfigNotFoundException":                        {404, "Message", true},
	"CodeStorageExceededException":                              {400, "message", true},
	"CodeVerificationFailedException":                           {400, "Message", true},
	"DurableExecutionAlreadyStartedException":                   {409, "Message", true},
	"EC2AccessDeniedException":                                  {502, "Message", true},
	"EC2ThrottledException":                                     {502, "Message", true},
	"EC2UnexpectedException":                                    {502, "Message", true},
	"EFSIOException":                                            {410, "Message", true},
	"EFSMountConnectivityException":                             {408, "Message", true},
	"EFSMountFailureException":                                  {403, "Message", true},
	"EFSMountTimeoutException":                                  {408, "Message", true},
	"ENILimitReachedException":                                  {502, "Message", true},
	"ENINotReadyException":                                      {502, "Message", true},
	"FunctionVersionsPerCapacityProviderLimitExceededException": {400, "message", true},
	"InvalidCodeSignatureException":                             {400, "Message", true},
	"InvalidParameterValueException":                            {400, "message", true},
	"InvalidRequestContentException":                            {400, "message", true},
	"InvalidRuntimeException":                                   {502, "Message", true},
	"InvalidSecurityGroupIDException":                           {502, "Message", true},
	"InvalidSubnetIDException":                                  {502, "Message", true},
	"InvalidZipFileException":                                   {502, "Message", true},
	"KMSAccessDeniedException":                                  {502, "Message", true},
	"KMSDisabledException":                                      {502, "Message", true},
	"KMSInvalidStateException":                                  {502, "Message", true},
	"KMSNotFoundException":                                      {502, "Message", true},
	"ModeNotSupportedException":                                 {400, "message", true},
	"NoPublishedVersionException":                               {400, "Message", true},
	"PolicyLengthExceededException":                             {400, "message", true},
	"PreconditionFailedException":                               {412, "message", true},
	"ProvisionedConcurrencyConfigNotFoundException":             {404, "message", true},
	"PublicPolicyException":                                     {400, "Message", true},
	"RecursiveInvocationException":                              {400, "Message", true},
	"RequestTooLargeException":                                  {413, "message", true},
	"ResourceConflictException":                                 {409, "message", true},
	"ResourceInUseException":                                    {400, "Message", true},
	"ResourceNotFoundException":                                 {404, "Message", true},
	"ResourceNotReadyException":                                 {502, "message", true},
	"S3FilesMountConnectivityException":                         {408, "Message", true},
	"S3FilesMountFailureException":                              {403, "Message", true},
	"S3FilesMountTimeoutException":                              {408, "Message", true},
	"SerializedRequestEntityTooLargeException":                  {413, "message", true},
	"ServiceException":                                          {500, "Message", true},
	"ServiceQuotaExceededException":                             {402, "Message", true},
	"SnapStartException":                                        {400, "Message", true},
	"SnapStartNotReadyException":                                {409, "Message", true},
	"SnapStartRegenerationFailureException":                     {409, "Message", true},
	"SnapStartTimeoutException":                                 {408, "Message", true},
	"SubnetIPAddressLimitReachedException":                      {502, "Message", true},
	"TooManyRequestsException":                                  {429, "message", true},
	"UnsupportedMediaTypeException":                             {415, "message", true},

	// Errors that AWS sends without modelling them.
	"AccessDeniedException":               {http.StatusForbidden, "Message", false},
	"ExpiredTokenException":               {http.StatusForbidden, "message", false},
	"IncompleteSignatureException":        {http.StatusForbidden, "message", false},
	"InvalidAction":                       {http.StatusBadRequest, "Message", false}, // of the query protocol
	"InvalidSignatureException":           {http.StatusForbidden, "message", false},
	"MissingAuthenticationTokenException": {http.StatusForbidden, "message", false},
	"RequestEntityTooLargeException":      {http.StatusRequestEntityTooLarge, "message", false},
	"RequestExpired":                      {http.StatusForbidden, "message", false},
	"SerializationException":              {http.StatusBadRequest, "Message", false},
	"UnknownOperationException":           {http.StatusNotFound, "Message", false},
	"UnrecognizedClientException":         {http.StatusForbidden, "message", false},
	"ValidationException":                 {http.StatusBadRequest, "message", false},

	// Errors of CloudWatch Logs.
	"InvalidOperationException":      {http.StatusBadRequest, "message", false},
	"InvalidParameterException":      {http.StatusBadRequest, "message", false},
	"LimitExceededException":         {http.StatusBadRequest, "message", false},
	"ResourceAlreadyExistsException": {http.StatusBadRequest, "message", false},
	"ServiceUnavailableException":    {http.StatusServiceUnavailable, "message", false},
	"TooManyTagsException":           {http.StatusBadRequest, "message", false},

	// Errors of IAM and STS.
	"AccessDenied":            {http.StatusForbidden, "Message", false},
	"ConcurrentModification":  {http.StatusConflict, "Message", false},
	"DeleteConflict":          {http.StatusConflict, "Message", false},
	"EntityAlreadyExists":     {http.StatusConflict, "Message", false},
	"ExpiredWebIdentityToken": {http.StatusBadRequest, "Message", false}, // ExpiredTokenException on the wire; that of signed requests is 403
	"IDPCommunicationError":   {http.StatusBadRequest, "Message", false},
	"InvalidIdentityToken":    {http.StatusBadRequest, "Message", false},
	"InvalidInput":            {http.StatusBadRequest, "Message", false},
	"LimitExceeded":           {http.StatusConflict, "Message", false},
	"MalformedPolicyDocument": {http.StatusBadRequest, "Message", false},
	"NoSuchEntity":            {http.StatusNotFound, "Message", false},
	"PackedPolicyTooLarge":    {http.StatusBadRequest, "Message", false},
	"ValidationError":         {http.StatusBadRequest, "Message", false},
	// KMS's. Its protocol answers all of a caller's errors with status 400,
	// also those that have another one here.
	"AlreadyExistsException":           {http.StatusBadRequest, "message", false},
	"DisabledException":                {http.StatusBadRequest, "message", false},
	"DryRunOperationException":         {http.StatusBadRequest, "message", false},
	"IncorrectKeyException":            {http.StatusBadRequest, "message", false},
	"InvalidArnException":              {http.StatusBadRequest, "message", false},
	"InvalidCiphertextException":       {http.StatusBadRequest, "message", false},
	"InvalidKeyUsageException":         {http.StatusBadRequest, "message", false},
	"InvalidMarkerException":           {http.StatusBadRequest, "message", false},
	"KMSInternalException":             {http.StatusInternalServerError, "message", false},
	"MalformedPolicyDocumentException": {http.StatusBadRequest, "message", false},
	"NotAuthorizedException":           {http.StatusBadRequest, "message", false},
	"NotFoundException":                {http.StatusBadRequest, "message", false},
	"TagException":                     {http.StatusBadRequest, "message", false},
	"UnsupportedOperationException":    {http.StatusBadRequest, "message", false},

	// Hearth's own: an operation of AWS's model that is not served yet.
	"NotImplementedException": {http.StatusNotImplemented, "Message", false},
}
