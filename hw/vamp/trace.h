#include "trace/trace-hw_vamp.h"
