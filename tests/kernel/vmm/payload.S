/*
 * The guest: freestanding 64-bit code, copied to CODE_AT
 *
 * %rdi is the vCPU's block and stays so. It knows its own switches and times,
 * so that nobody has to believe the module.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "payload.h"

    .section .rodata
    .code64
    .globl payload_start, payload_nmi, payload_gp, payload_device
    .globl payload_wake, payload_end

#define MSR_X2APIC_EOI  0x80b
#define MSR_X2APIC_ICR  0x830
#define MSR_EFER        0xc0000080
#define MSR_HSAVE       0xc0010117
#define EFER_SVME       (1 << 12)

payload_start:
    movq    B_ROUNDS(%rdi), %r8
    movl    B_OP(%rdi), %eax
    cmpl    $OP_SWITCH, %eax
    je      switch
    cmpl    $OP_CPUID, %eax
    je      identify
    cmpl    $OP_HALT, %eax
    je      halt
    cmpl    $OP_LEAF, %eax
    je      leaf
    cmpl    $OP_RDMSR, %eax
    je      read
    cmpl    $OP_WRMSR, %eax
    je      write
    cmpl    $OP_WAIT, %eax
    je      wait
    cmpl    $OP_NEST, %eax
    je      nest
done:
    outb    %al, $PORT_DONE
    jmp     payload_start

/* --- OP_SWITCH ----------------------------------------------------------- */

switch:
    xorl    %ecx, %ecx
step:
    call    load
    call    stay
    cmpl    $0, B_STOP(%rdi)
    jne     done
    incl    %ecx
    cmpl    B_STEPS(%rdi), %ecx
    jb      step
    incq    B_DONE(%rdi)
    decq    %r8
    jnz     switch
    jmp     done

/* Goes to the task of step %rcx. */
load:
    movq    B_CR3(%rdi,%rcx,8), %rbx
    incl    B_SEQ(%rdi)
    movq    %rbx, %cr3
    movq    %rcx, B_NOW(%rdi)
    incl    B_SEQ(%rdi)
    incq    B_LOADS(%rdi)
    movq    B_LAST(%rdi), %rax
    xorq    %rbx, %rax
    andq    B_MASK(%rdi), %rax
    jz      1f
    incq    B_SWITCHES(%rdi)
1:  movq    %rbx, B_LAST(%rdi)
    ret

/* Spends the time of step %rcx, unless it is to stop. */
stay:
    call    cycles
    movq    %rax, %r9
2:  cmpq    $0, B_STAY(%rdi,%rcx,8)
    je      3f
    call    cycles
    subq    %r9, %rax
    cmpl    $0, B_STOP(%rdi)
    jne     3f
    cmpq    B_STAY(%rdi,%rcx,8), %rax
    jb      2b
3:  call    cycles
    subq    %r9, %rax
    addq    %rax, B_TSC(%rdi,%rcx,8)
    ret

cycles:
    rdtsc
    shlq    $32, %rdx
    orq     %rdx, %rax
    ret

/* --- OP_CPUID ------------------------------------------------------------ */

identify:
    xorl    %eax, %eax
    xorl    %ecx, %ecx
    cpuid
    incq    B_DONE(%rdi)
    decq    %r8
    jnz     identify
    jmp     done

/* --- OP_HALT ------------------------------------------------------------- */

halt:
    xorl    %ecx, %ecx
    call    load
4:  hlt
    incq    B_DONE(%rdi)
    call    stay
    cmpl    $0, B_STOP(%rdi)
    jne     done
    decq    %r8
    jnz     4b
    jmp     done

/* --- OP_LEAF, OP_RDMSR, OP_WRMSR ------------------------------------------ */

leaf:
    movl    B_CR3(%rdi), %eax
    xorl    %ecx, %ecx
    cpuid
    movq    %rax, B_TSC(%rdi)
    movq    %rbx, B_TSC+8(%rdi)
    movq    %rcx, B_TSC+16(%rdi)
    movq    %rdx, B_TSC+24(%rdi)
    jmp     done

read:
    movl    B_CR3(%rdi), %ecx
    xorl    %eax, %eax
    xorl    %edx, %edx
    rdmsr
    shlq    $32, %rdx
    orq     %rdx, %rax
    movq    %rax, B_TSC(%rdi)
    jmp     done

write:
    movl    B_CR3(%rdi), %ecx
    movl    B_STAY(%rdi), %eax
    movl    B_STAY+4(%rdi), %edx
    wrmsr
    jmp     done

payload_gp:
    incq    B_FAULTS(%rdi)
    addq    $2, 8(%rsp)
    addq    $8, %rsp
    iretq

/* --- OP_WAIT ------------------------------------------------------------- */

wait:
    xorl    %ecx, %ecx
    call    load
5:  cmpl    $0, B_STOP(%rdi)
    jne     done
    sti
    hlt
    cli
    movl    $1, %ecx
    call    load
    call    stay
    movl    B_PORT(%rdi), %edx
    testl   %edx, %edx
    jz      6f
    outb    %al, %dx
6:  movq    B_MMIO(%rdi), %rdx
    testq   %rdx, %rdx
    jz      7f
    movl    %eax, (%rdx)
7:  movq    B_ICR(%rdi), %rax
    call    send
    xorl    %ecx, %ecx
    call    load
    incq    B_DONE(%rdi)
    decq    %r8
    jnz     5b
    jmp     done

/* Writes %rax to the ICR, unless it is 0. */
send:
    testq   %rax, %rax
    jz      8f
    movq    %rax, %rdx
    shrq    $32, %rdx
    movl    $MSR_X2APIC_ICR, %ecx
    wrmsr
8:  ret

payload_device:
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    incq    B_IRQS(%rdi)
    movl    B_HANDLER_PORT(%rdi), %edx
    testl   %edx, %edx
    jz      9f
    outb    %al, %dx
9:  movq    B_HANDLER_ICR(%rdi), %rax
    call    send
    jmp     end

payload_wake:
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
end:
    movl    $MSR_X2APIC_EOI, %ecx
    xorl    %eax, %eax
    xorl    %edx, %edx
    wrmsr
    popq    %rdx
    popq    %rcx
    popq    %rax
    iretq

/* --- OP_NEST ------------------------------------------------------------- */

nest:
    movl    $MSR_EFER, %ecx
    rdmsr
    orl     $EFER_SVME, %eax
    wrmsr
    movl    $MSR_HSAVE, %ecx
    movl    $HSAVE_AT, %eax
    xorl    %edx, %edx
    wrmsr
10: xorl    %ecx, %ecx
    call    load
    call    stay
    leaq    nested(%rip), %rax
    movq    %rax, VMCB_AT + VMCB_RIP
    movl    $VMCB_AT, %eax
    vmrun   %rax
    /* Until STGI nothing comes in, and nothing has to exit. */
    movq    VMCB_AT + VMCB_EXIT, %rax
    movq    %rax, B_EXIT(%rdi)
    movl    $1, %ecx
11: call    load
    incl    %ecx
    cmpl    B_STEPS(%rdi), %ecx
    jb      11b
    stgi
    incq    B_DONE(%rdi)
    decq    %r8
    jnz     10b
    jmp     done

nested:
    cmpq    $0, B_NESTED_HALT(%rdi)
    je      12f
    sti
    hlt
    cli
12: movq    B_NESTED(%rdi), %r10
13: movq    B_NESTED_CR3(%rdi), %rax
    movq    %rax, %cr3
    movq    B_NESTED_CR3+8(%rdi), %rax
    movq    %rax, %cr3
    addq    $2, B_NESTED_LOADS(%rdi)
    decq    %r10
    jnz     13b
    vmmcall

payload_nmi:
    incq    B_NMIS(%rdi)
    iretq

payload_end:

    .section .note.GNU-stack, "", @progbits
