// The part of ONNX Runtime's C API that bncagan.hpp calls, for machines that have the library without its headers, as
// from a Python wheel. Names and places are those of onnxruntime_c_api.h; the places are the same in every version.
#pragma once

#include <cstddef>
#include <cstdint>

#define ORT_API_VERSION 2  // the first that has all of these

extern "C" {

typedef struct OrtAllocator OrtAllocator;
typedef struct OrtEnv OrtEnv;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtModelMetadata OrtModelMetadata;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtStatus OrtStatus;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtValue OrtValue;

#ifdef _WIN32
#define ORT_CALL __stdcall
typedef wchar_t ORTCHAR_T;
#else
#define ORT_CALL
typedef char ORTCHAR_T;
#endif

typedef enum OrtLoggingLevel { ORT_LOGGING_LEVEL_ERROR = 3 } OrtLoggingLevel;
typedef enum OrtAllocatorType { OrtArenaAllocator = 1 } OrtAllocatorType;
typedef enum OrtMemType { OrtMemTypeDefault = 0 } OrtMemType;
typedef enum ONNXTensorElementDataType {
  ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT = 1,
  ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 = 2
} ONNXTensorElementDataType;

typedef struct OrtApi {
  void* skipped0[2];
  const char*(ORT_CALL* GetErrorMessage)(const OrtStatus*);
  OrtStatus*(ORT_CALL* CreateEnv)(OrtLoggingLevel, const char*, OrtEnv**);
  void* skipped4[2];
  OrtStatus*(ORT_CALL* DisableTelemetryEvents)(const OrtEnv*);
  OrtStatus*(ORT_CALL* CreateSession)(const OrtEnv*, const ORTCHAR_T*, const OrtSessionOptions*, OrtSession**);
  void* skipped8[1];
  OrtStatus*(ORT_CALL* Run)(OrtSession*, const OrtRunOptions*, const char* const*, const OrtValue* const*, size_t,
                            const char* const*, size_t, OrtValue**);
  OrtStatus*(ORT_CALL* CreateSessionOptions)(OrtSessionOptions**);
  void* skipped11[13];
  OrtStatus*(ORT_CALL* SetIntraOpNumThreads)(OrtSessionOptions*, int);
  void* skipped25[24];
  OrtStatus*(ORT_CALL* CreateTensorWithDataAsOrtValue)(const OrtMemoryInfo*, void*, size_t, const int64_t*, size_t,
                                                       ONNXTensorElementDataType, OrtValue**);
  void* skipped50[1];
  OrtStatus*(ORT_CALL* GetTensorMutableData)(OrtValue*, void**);
  void* skipped52[8];
  OrtStatus*(ORT_CALL* GetTensorElementType)(const OrtTensorTypeAndShapeInfo*, ONNXTensorElementDataType*);
  OrtStatus*(ORT_CALL* GetDimensionsCount)(const OrtTensorTypeAndShapeInfo*, size_t*);
  OrtStatus*(ORT_CALL* GetDimensions)(const OrtTensorTypeAndShapeInfo*, int64_t*, size_t);
  void* skipped63[2];
  OrtStatus*(ORT_CALL* GetTensorTypeAndShape)(const OrtValue*, OrtTensorTypeAndShapeInfo**);
  void* skipped66[3];
  OrtStatus*(ORT_CALL* CreateCpuMemoryInfo)(OrtAllocatorType, OrtMemType, OrtMemoryInfo**);
  void* skipped70[6];
  OrtStatus*(ORT_CALL* AllocatorFree)(OrtAllocator*, void*);
  void* skipped77[1];
  OrtStatus*(ORT_CALL* GetAllocatorWithDefaultOptions)(OrtAllocator**);
  void* skipped79[13];
  void(ORT_CALL* ReleaseEnv)(OrtEnv*);
  void(ORT_CALL* ReleaseStatus)(OrtStatus*);
  void(ORT_CALL* ReleaseMemoryInfo)(OrtMemoryInfo*);
  void(ORT_CALL* ReleaseSession)(OrtSession*);
  void(ORT_CALL* ReleaseValue)(OrtValue*);
  void* skipped97[2];
  void(ORT_CALL* ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);
  void(ORT_CALL* ReleaseSessionOptions)(OrtSessionOptions*);
  void* skipped101[10];
  OrtStatus*(ORT_CALL* SessionGetModelMetadata)(const OrtSession*, OrtModelMetadata**);
  void* skipped112[4];
  OrtStatus*(ORT_CALL* ModelMetadataLookupCustomMetadataMap)(const OrtModelMetadata*, OrtAllocator*, const char*,
                                                             char**);
  void* skipped117[1];
  void(ORT_CALL* ReleaseModelMetadata)(OrtModelMetadata*);
} OrtApi;

static_assert(offsetof(OrtApi, ReleaseModelMetadata) == 118 * sizeof(void*), "the end of version 2 of the C API");

typedef struct OrtApiBase {
  const OrtApi*(ORT_CALL* GetApi)(uint32_t version);
  const char*(ORT_CALL* GetVersionString)();
} OrtApiBase;

const OrtApiBase* ORT_CALL OrtGetApiBase();

}  // extern "C"
