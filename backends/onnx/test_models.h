#ifndef BERTH_ONNX_TEST_MODELS_H
#define BERTH_ONNX_TEST_MODELS_H

/* Have the script write its models into the folder, by BERTH_PYTHON, else by the Python that
 * tools/setup made.  0, or not: there is none with `onnx`. */
int make_models(const char *script, const char *folder);

#endif
