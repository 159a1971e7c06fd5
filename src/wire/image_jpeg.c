#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

#include <berth/err.h>

#include "wire/image_priv.h"

/*
 * libjpeg reports an error by a function that must not return.  So this file and image_png.c are
 * the places where setjmp is used: everything that must survive the jump is in struct job, which
 * the function that calls setjmp only points to.
 */
struct job {
    struct jpeg_decompress_struct cinfo;
    struct jpeg_error_mgr err;
    struct jpeg_progress_mgr progress;
    jmp_buf jump;
    enum berth_code code;
    char msg[JMSG_LENGTH_MAX];
    uint32_t scans_max;
    struct berth_image image;
    uint8_t *row; /* where the decoder's colours are not the ones asked for */
};

_Noreturn static void
stop(struct job *job, enum berth_code code)
{
    job->code = code;
    longjmp(job->jump, 1); /* NOLINT(cert-err52-cpp): libjpeg's way, see above */
}

_Noreturn static void
on_error(j_common_ptr cinfo)
{
    struct job *job = cinfo->client_data;
    enum berth_code code = BERTH_EINVAL;

    if (cinfo->err->msg_code == JERR_OUT_OF_MEMORY)
        code = BERTH_ENOMEM;
    if (cinfo->err->msg_code == JERR_IMAGE_TOO_BIG)
        code = BERTH_ETOOBIG;
    cinfo->err->format_message(cinfo, job->msg);
    stop(job, code);
}

/* Damage that the decoder can go on from is let pass; a picture cut short is refused. */
static void
on_message(j_common_ptr cinfo, int severity)
{
    struct job *job = cinfo->client_data;

    if (severity >= 0 || cinfo->err->msg_code != JWRN_JPEG_EOF)
        return;
    (void)snprintf(job->msg, sizeof job->msg, "the file is cut short");
    stop(job, BERTH_EINVAL);
}

static void
on_progress(j_common_ptr cinfo)
{
    struct job *job = cinfo->client_data;

    if (job->cinfo.input_scan_number <= (int)job->scans_max)
        return;
    (void)snprintf(job->msg, sizeof job->msg, "more than %u scans", job->scans_max);
    stop(job, BERTH_ETOOBIG);
}

/* Cyan, magenta, yellow and black are stored inverted, as everything since Photoshop does. */
static void
cmyk_to_rgb(const uint8_t *in, size_t count, uint8_t *ret)
{
    for (size_t i = 0; i < count; i++, in += 4, ret += 3) {
        for (size_t c = 0; c < 3; c++) {
            uint32_t x = (uint32_t)in[c] * in[3] + 128;

            ret[c] = (uint8_t)((x + (x >> 8)) >> 8);
        }
    }
}

/* Choose what the decoder shall give.  Returns how many channels that has. */
static uint32_t
choose_colours(struct job *job, uint32_t channels)
{
    struct jpeg_decompress_struct *c = &job->cinfo;

    switch (c->num_components) {
    case 1:
        c->out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
        return channels;
    case 3:
        c->out_color_space = JCS_RGB;
        return 3;
    case 4:
        c->out_color_space = JCS_CMYK;
        return 4;
    default:
        (void)snprintf(job->msg, sizeof job->msg, "%d colour channels", c->num_components);
        stop(job, BERTH_EUNSUPPORTED);
    }
}

static void
read_rows(struct job *job, uint32_t channels, uint32_t have)
{
    struct jpeg_decompress_struct *c = &job->cinfo;
    const size_t width = job->image.width;

    while (c->output_scanline < c->output_height) {
        uint8_t *out = job->image.pixels + c->output_scanline * width * channels;
        uint8_t *row = have == channels ? out : job->row;

        if (jpeg_read_scanlines(c, &row, 1) != 1)
            return; /* not with a source in memory: it never suspends */
        if (have == 4)
            cmyk_to_rgb(row, width, channels == 3 ? out : row);
        if (channels == 1 && have > 1)
            berth_image_grey(row, width, out);
    }
}

/* Everything that may jump.  Returns 0 or the code, with job->msg or *e filled. */
static int
decode(struct job *job, const void *bytes, size_t n, const struct berth_image_limits *lim,
       uint32_t channels, struct berth_err *e)
{
    struct jpeg_decompress_struct *c = &job->cinfo;
    uint32_t have;
    int rc;

    if (setjmp(job->jump) != 0) /* NOLINT(cert-err52-cpp): libjpeg's way, see above */
        return -(int)job->code;
    jpeg_create_decompress(c);
    c->progress = &job->progress;
    jpeg_mem_src(c, bytes, n);
    (void)jpeg_read_header(c, TRUE);
    have = choose_colours(job, channels);
    rc = berth_image_alloc(c->image_width, c->image_height, channels, lim->pixels_max, &job->image,
                           e);
    if (rc < 0)
        return rc;
    if (have != channels) {
        job->row = malloc((size_t)c->image_width * have);
        if (job->row == NULL)
            return berth_err_set(e, BERTH_ENOMEM, "image: out of memory");
    }
    (void)jpeg_start_decompress(c);
    read_rows(job, channels, have);
    return 0;
}

int
berth_image_decode_jpeg(const void *bytes, size_t n, const struct berth_image_limits *lim,
                        uint32_t channels, struct berth_image *ret, struct berth_err *e)
{
    struct job job = {.scans_max = lim->scans_max};
    int rc;

    job.cinfo.err = jpeg_std_error(&job.err);
    job.cinfo.client_data = &job;
    job.err.error_exit = on_error;
    job.err.emit_message = on_message;
    job.progress.progress_monitor = on_progress;
    rc = decode(&job, bytes, n, lim, channels, e);
    jpeg_destroy_decompress(&job.cinfo);
    free(job.row);
    if (rc < 0) {
        berth_image_fini(&job.image);
        return job.msg[0] == '\0'
                   ? rc
                   : berth_err_set(e, (enum berth_code) - rc, "image: JPEG: %s", job.msg);
    }
    *ret = job.image;
    return 0;
}
