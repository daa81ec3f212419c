/* One translation unit, so that the compiler sees everything and the build is one command. */
#include "common.h"

#include "egnn.c"
#include "forcenet.c"
#include "geometry.c"
#include "gns.c"
#include "painn.c"
